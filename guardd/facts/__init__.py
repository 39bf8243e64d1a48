"""What is known of guests and of this host, as frozen values read from text."""

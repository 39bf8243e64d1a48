/* The hook's two dealings with JSON, for inputs from a pipe: each is a letter, the size, 4 bytes in
 * this machine's order, and the bytes; so is each result, whose letter is the hook's exit status.
 *
 * q: write the bytes as a JSON string.  r: act on them as on the daemon's reply. */

#define main hook_main
#include HOOK
#undef main

static void give(char letter, const char *from, size_t size)
{
    uint32_t count = (uint32_t)size;
    putchar(letter);
    fwrite(&count, sizeof count, 1, stdout);
    if (size)
        fwrite(from, 1, size, stdout);
}

int main(void)
{
    int letter;
    uint32_t size;
    domain = operation = "prepare";
    while ((letter = getchar()) != EOF && fread(&size, sizeof size, 1, stdin) == 1) {
        char *input = malloc(size ? size : 1); /* of that very size: one byte beyond is noticed */
        struct bytes out = {0};
        if (fread(input, 1, size, stdin) != size)
            return 1;
        struct bytes given = {.at = input, .used = size, .room = size};
        if (letter == 'q') {
            append_quoted(&out, input, size);
            give('q', out.at, out.used);
        } else if (!is_enough(&given)) {
            give('-', "", 0);
        } else if (begins_with(&given, ALLOWED)) {
            give('0', "", 0);
        } else if (begins_with(&given, REFUSED) && append_unquoted(&out, input + strlen(REFUSED))) {
            give('1', out.at, out.used);
        } else {
            give('-', "", 0);
        }
        free(input);
        free(out.at);
    }
    return 0;
}

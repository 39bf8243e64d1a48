/* libvirt's hook of cpu-guardd: asks whether a guest's CPU can be honoured here.
 *
 * libvirt waits for it with the guest locked, so that the daemon's plain yes or no is acted on here,
 * without an interpreter. Any other reply, and none in time, are for the fallback: a process of its
 * own that can be given up. A guest is refused only where one of the two says so in full; whatever
 * breaks is answered by the last resort, as configured.
 *
 * Prints nothing on stdout, where it would replace the domain's XML. */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SOCKET
#define SOCKET "/run/cpu-guardd/guard.sock"
#endif
#ifndef ON_UNAVAILABLE
#define ON_UNAVAILABLE "/var/lib/cpu-guardd/on_unavailable"
#endif
#ifndef JOURNAL
#define JOURNAL "/run/systemd/journal/socket"
#endif
#ifndef FALLBACK
#define FALLBACK "/usr/bin/python3", "-I", "-m", "guardd.fallback"
#endif
#ifndef DAEMON_SECONDS
#define DAEMON_SECONDS 1.0
#endif
#ifndef FALLBACK_SECONDS
#define FALLBACK_SECONDS 4.0
#endif
#ifndef ROOT_UID
#define ROOT_UID 0
#endif

#define CALL "{\"method\":\"io.cpuguardd.Guard.Check\",\"parameters\":"
#define ALLOWED "{\"parameters\":{\"refused\":false,"
#define REFUSED "{\"parameters\":{\"refused\":true,\"line\":\""
#define UNAVAILABLE "f23a40b8a40542eb86fb0952638f40d2"
#define FALLBACK_REFUSES 20 /* exit status */

enum { LET_THROUGH = 0, REFUSE = 1, UNDECIDED = -1 };
enum { MAX_REPLY = 1 << 20, MAX_SAID = 1 << 16 };

struct bytes {
    char *at;
    size_t used, room;
};

/* what cpu-guardctl knows an installed hook by (hookfile.py) */
__attribute__((used)) static const char mark[] = "libvirt's hook of cpu-guardd";

static const char *domain, *operation;

/* -- bytes */

static int last_resort(void);

/* Make room for more bytes, and give where they go. */
static char *reserve(struct bytes *text, size_t more)
{
    if (text->room - text->used < more) {
        text->room = 2 * (text->used + more);
        text->at = realloc(text->at, text->room);
        if (!text->at)
            exit(last_resort());
    }
    return text->at + text->used;
}

static void append(struct bytes *text, const char *more, size_t size)
{
    memcpy(reserve(text, size), more, size);
    text->used += size;
}

static void append_text(struct bytes *text, const char *more)
{
    append(text, more, strlen(more));
}

/* Append a JSON string; what is no UTF-8 goes as it is, for the daemon to see (wire.py). */
static void append_quoted(struct bytes *text, const char *from, size_t size)
{
    append(text, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned byte = (unsigned char)from[i];
        if (byte < ' ' || byte == '"' || byte == '\\')
            text->used += (size_t)sprintf(reserve(text, sizeof "\\u0000"), "\\u%04x", byte);
        else
            append(text, from + i, 1);
    }
    append(text, "\"", 1);
}

/* Append a code point as UTF-8 (RFC 3629). */
static void append_point(struct bytes *text, uint32_t point)
{
    static const unsigned char lead[] = {0x00, 0xc0, 0xe0, 0xf0};
    int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    append(text, &(char){(char)(lead[more] | point >> 6 * more)}, 1);
    while (more-- > 0)
        append(text, &(char){(char)(0x80 | (point >> 6 * more & 0x3f))}, 1);
}

/* Give the four hexadecimal digits of \uXXXX; UINT32_MAX where these are none. */
static uint32_t hex4(const char *from)
{
    uint32_t number = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *digit = from[i] ? strchr(digits, from[i]) : NULL;
        if (!digit)
            return UINT32_MAX;
        number = number << 4 | (uint32_t)(digit - digits);
    }
    return number;
}

/* Append what a JSON string of the daemon's says, from behind its opening quote; it is followed by
 * a NUL at the latest. False where it is no such string: ASCII, in Python's spelling of escapes. */
static bool append_unquoted(struct bytes *text, const char *from)
{
    while (*from >= ' ' && *from < 0x7f && *from != '"') {
        uint32_t point = (unsigned char)*from++;
        if (point == '\\' && (*from == '"' || *from == '\\')) {
            point = (unsigned char)*from++;
        } else if (point == '\\') {
            if (*from++ != 'u' || (point = hex4(from)) == UINT32_MAX)
                return false;
            from += 4;
            if (point >= 0xd800 && point < 0xdc00 && from[0] == '\\' && from[1] == 'u') {
                uint32_t low = hex4(from + 2);
                if (low < 0xdc00 || low > 0xdfff)
                    return false;
                point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
                from += 6;
            }
            if (point < ' ' || (point >= 0xd800 && point < 0xe000))
                return false;
        }
        append_point(text, point);
    }
    return *from == '"';
}

static void write_all(int fd, const char *from, size_t size)
{
    ssize_t count;
    while (size && ((count = write(fd, from, size)) > 0 || errno == EINTR)) {
        if (count > 0) {
            from += count;
            size -= (size_t)count;
        }
    }
}

static void read_all(int fd, struct bytes *text)
{
    ssize_t count;
    while ((count = read(fd, reserve(text, 1 << 16), 1 << 16)) > 0 || (count < 0 && errno == EINTR))
        text->used += count > 0 ? (size_t)count : 0;
}

/* Write to stderr, which libvirt shows to the person who tried. */
static void say(const struct bytes *text)
{
    write_all(STDERR_FILENO, text->at, text->used);
}

/* -- the daemon */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Let the next call on a socket wait until the deadline at most; false where that has passed. */
static bool limit(int connection, double deadline)
{
    double usec = (deadline - now()) * 1e6;
    if (usec < 1)
        return false;
    struct timeval left = {.tv_sec = (time_t)(usec / 1e6)};
    left.tv_usec = (suseconds_t)(usec - (double)left.tv_sec * 1e6);
    return !setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left)
        && !setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &left, sizeof left);
}

static int connect_to(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int connection = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connection < 0 || !limit(connection, now() + DAEMON_SECONDS)
        || connect(connection, (struct sockaddr *)&address, sizeof address)) {
        close(connection);
        return -1;
    }
    return connection;
}

static bool begins_with(const struct bytes *text, const char *start)
{
    return text->used >= strlen(start) && !memcmp(text->at, start, strlen(start));
}

/* Whether a reply says all that is needed of it, or ends. */
static bool is_enough(const struct bytes *reply)
{
    return begins_with(reply, ALLOWED) || (reply->used && !reply->at[reply->used - 1]);
}

static bool exchange(int connection, const struct bytes *call, struct bytes *reply, double deadline)
{
    ssize_t count;
    for (size_t sent = 0; sent < call->used; sent += (size_t)count) {
        if (!limit(connection, deadline))
            return false;
        count = send(connection, call->at + sent, call->used - sent, MSG_NOSIGNAL);
        if (count <= 0)
            return false;
    }
    while (!is_enough(reply) && reply->used < MAX_REPLY) {
        /* a host so busy that the reply was there first, and this process too late, has a reply */
        int flags = limit(connection, deadline) ? 0 : MSG_DONTWAIT;
        count = recv(connection, reserve(reply, 1 << 16), 1 << 16, flags);
        if (count <= 0)
            return false;
        reply->used += (size_t)count;
    }
    return is_enough(reply);
}

/* Ask the daemon; the reply stays empty where there is none in time. */
static void ask(const struct bytes *xml, struct bytes *reply)
{
    double deadline = now() + DAEMON_SECONDS;
    struct bytes call = {0};
    append_text(&call, CALL "{\"domain\":");
    append_quoted(&call, domain, strlen(domain));
    append_text(&call, ",\"operation\":");
    append_quoted(&call, operation, strlen(operation));
    append_text(&call, ",\"xml\":");
    append_quoted(&call, xml->at, xml->used);
    append(&call, "}}", sizeof "}}");

    int connection = connect_to(SOCKET, SOCK_STREAM);
    if (connection < 0 || !exchange(connection, &call, reply, deadline))
        reply->used = 0;
    if (connection >= 0)
        close(connection);
    free(call.at);
}

static int act_on(const struct bytes *reply)
{
    static struct bytes line;
    if (begins_with(reply, ALLOWED))
        return LET_THROUGH;
    if (!begins_with(reply, REFUSED) || !append_unquoted(&line, reply->at + strlen(REFUSED)))
        return UNDECIDED;
    append(&line, "\n", 1);
    say(&line);
    return REFUSE;
}

/* -- the fallback */

/* Become the fallback, with the reply, a NUL and the XML on stdin, and stderr into a pipe. */
static void become_fallback(const struct bytes *reply, const struct bytes *xml, int said)
{
    char *const command[] = {FALLBACK, (char *)domain, (char *)operation, NULL};
    int feed[2], nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (pipe(feed) || nothing < 0)
        return;
    dup2(nothing, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    /* A process of its own writes, so that nobody waits for one that does not read. */
    pid_t writer = fork();
    if (writer < 0)
        return;
    if (!writer) {
        close(feed[0]);
        signal(SIGPIPE, SIG_DFL);
        /* up to the reply's own NUL, if it has one */
        write_all(feed[1], reply->at, reply->used ? strnlen(reply->at, reply->used) : 0);
        write_all(feed[1], "", 1);
        write_all(feed[1], xml->at, xml->used);
        _exit(0);
    }
    dup2(feed[0], STDIN_FILENO);
    close(feed[0]);
    close(feed[1]);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(command[0], command);
}

/* Wait for a child until the deadline, with SIGCHLD, *ends*, blocked; give its exit status, or
 * UNDECIDED. A child that does not end is killed and left to init: it may hang in the kernel. */
static int wait_for(pid_t child, const sigset_t *ends, double deadline)
{
    int status;
    while (waitpid(child, &status, WNOHANG) != child) {
        double left = deadline - now();
        if (left <= 0) {
            kill(child, SIGKILL);
            return UNDECIDED;
        }
        struct timespec time = {.tv_sec = (time_t)left};
        time.tv_nsec = (long)((left - (double)time.tv_sec) * 1e9);
        sigtimedwait(ends, NULL, &time);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : UNDECIDED;
}

/* Have the fallback decide. */
static int judge_alone(const struct bytes *reply, const struct bytes *xml)
{
    static struct bytes why;
    int said[2];
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    signal(SIGCHLD, SIG_DFL); /* ignored, by whoever started this, it would hide the child's end */
    if (sigprocmask(SIG_BLOCK, &ends, NULL) || pipe2(said, O_CLOEXEC | O_NONBLOCK))
        return UNDECIDED;
    double deadline = now() + FALLBACK_SECONDS;
    pid_t child = fork();
    if (!child) {
        become_fallback(reply, xml, said[1]);
        _exit(127);
    }
    int status = child < 0 ? UNDECIDED : wait_for(child, &ends, deadline);
    if (status != FALLBACK_REFUSES)
        return status ? UNDECIDED : LET_THROUGH;
    ssize_t count = read(said[0], reserve(&why, MAX_SAID), MAX_SAID);
    why.used = count > 0 ? (size_t)count : 0;
    say(&why);
    return REFUSE;
}

/* -- the last resort */

static bool is_denied(void)
{
    char text[17] = "", word[17], more;
    int file = open(ON_UNAVAILABLE, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    ssize_t count = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    return count > 0 && sscanf(text, " %16s %c", word, &more) == 1 && !strcmp(word, "deny");
}

/* Write a guest's name in printable ASCII. */
static void escape(char *to, size_t room, const char *from)
{
    for (size_t used = 0; *from && used + sizeof "\\x00" <= room; from++) {
        bool is_plain = *from >= ' ' && *from < 0x7f && *from != '\\';
        used += (size_t)sprintf(to + used, is_plain ? "%c" : "\\x%02x", (unsigned char)*from);
    }
}

/* Answer as configured, and say in the journal that nobody judged this guest. */
static int last_resort(void)
{
    static char name[4096], line[5000], record[12000];
    bool denies = strcmp(operation, "restore") && is_denied(); /* see main() */
    escape(name, sizeof name, domain);
    int size = snprintf(
        line, sizeof line,
        "cpu-guardd[unavailable]: %s %s: neither the daemon nor the hook itself could judge it;"
        " see: systemctl status cpu-guardd\n",
        name, denies ? "refused" : "allowed unjudged");
    int length = snprintf(
        record, sizeof record,
        "MESSAGE=%sMESSAGE_ID=" UNAVAILABLE "\nPRIORITY=3\nSYSLOG_IDENTIFIER=cpu-guardd\n"
        "GUARDD_DOMAIN=%s\nGUARDD_OPERATION=%s\nGUARDD_DECISION=unavailable\nGUARDD_REFUSED=%s\n",
        line, name, operation, denies ? "yes" : "no");
    int journal = connect_to(JOURNAL, SOCK_DGRAM);
    if (journal >= 0)
        send(journal, record, (size_t)length, MSG_NOSIGNAL);
    if (denies)
        write_all(STDERR_FILENO, line, (size_t)size);
    return denies ? REFUSE : LET_THROUGH;
}

/* -- what is gated */

/* Asked about; a failing "reconnect" would kill a running guest. */
static bool is_gated(int count, char **words)
{
    if (count < 4 || strcmp(words[3], "begin"))
        return false;
    return !strcmp(words[2], "prepare") || !strcmp(words[2], "migrate")
        || !strcmp(words[2], "restore");
}

int main(int count, char **words)
{
    static struct bytes xml, reply;
    /* a user's own libvirt (qemu:///session) runs it too: its guests are not judged */
    if (!is_gated(count, words) || geteuid() != ROOT_UID)
        return LET_THROUGH;
    domain = words[1];
    operation = words[2];
    /* No core dump, for a domain's XML holds secrets when it arrives; of a limit of 0 the kernel
     * still feeds a program that collects dumps, but not of 1 (core(5)). */
    setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1});
    read_all(STDIN_FILENO, &xml);
    ask(&xml, &reply);
    /* libvirt 11.3.0 takes a managed save that is refused at "restore" for restored, and deletes
     * its image. "prepare" comes next, shows more, and a refusal there keeps the image. */
    if (!strcmp(operation, "restore"))
        return LET_THROUGH;
    int status = act_on(&reply);
    if (status == UNDECIDED)
        status = judge_alone(&reply, &xml);
    return status == UNDECIDED ? last_resort() : status;
}

/* Any text as the line of a refusal, read by the hook's own code: run with sanitizers.
 *
 * hook_lines COUNT SEED: prints how many of COUNT texts were lines; fails where one that was taken
 * for a line is no UTF-8 without control characters. */

#define main hook
#include "../hooks/qemu.c"
#undef main

#include <locale.h>
#include <wchar.h>

/* what the code tells apart, often */
static const char *const PIECES[] = {
    "\\", "\"", "\\\\", "\\\"", "\\u", "\\u0000", "\\u001f", "\\u00e9", "\\u20ac", "\\ud83d",
    "\\udc27", "\\ud83d\\udc27", "\\udfff", "\\udbff", "\\uffff", "u", "0", "9", "a", "f", "A",
    "d8", "\x1f", "\x7f", "\x80", "\xff", " ", "~", "{", "n",
};
enum { MAX_PIECES = 12 };

static uint32_t next(uint32_t *state)
{
    /* xorshift32 (Marsaglia, "Xorshift RNGs", 2003) */
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static bool is_harmless(struct bytes *line)
{
    mbstate_t state = {0};
    for (size_t i = 0; i < line->used; i++)
        if ((unsigned char)line->at[i] < ' ')
            return false;
    append(line, "", 1);
    const char *at = line->at;
    return mbsrtowcs(NULL, &at, 0, &state) != (size_t)-1;
}

int main(int count, char **words)
{
    if (count < 3 || !setlocale(LC_CTYPE, "C.UTF-8"))
        return 2;
    uint32_t state = (uint32_t)atol(words[2]);
    long taken = 0;
    domain = operation = "";
    for (long left = atol(words[1]); left > 0; left--) {
        struct bytes text = {0}, line = {0};
        for (uint32_t pieces = next(&state) % MAX_PIECES; pieces > 0; pieces--)
            append_text(&text, PIECES[next(&state) % (sizeof PIECES / sizeof *PIECES)]);
        append(&text, "\"", 2);
        text.at = realloc(text.at, text.used); /* to the byte, for the sanitizer to see */
        if (append_unquoted(&line, text.at)) {
            taken++;
            if (!is_harmless(&line)) {
                fprintf(stderr, "%s\n", text.at);
                return 1;
            }
        }
        free(text.at);
        free(line.at);
    }
    printf("%ld\n", taken);
    return 0;
}

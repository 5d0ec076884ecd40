#include "base/utf8.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* Copies through heap blocks of exactly the sizes that the contract gives, for the sanitiser to watch. */
static char *copied(const char *from, size_t size, size_t limit) {
    char *input = malloc(size + !size), *output = malloc(3 * size + !size);
    assert_non_null(input);
    assert_non_null(output);
    memcpy(input, from, size);
    size_t used = utf8_copy(output, input, size, limit);
    assert_true(used <= limit && used <= 3 * size);
    char *text = malloc(used + 1);
    assert_non_null(text);
    memcpy(text, output, used);
    text[used] = '\0';
    free(input);
    free(output);
    return text;
}

static void becomes(const char *from, size_t limit, const char *to) {
    char *text = copied(from, strlen(from), limit);
    assert_string_equal(text, to);
    free(text);
}

static void valid_text_is_kept(void **state) {
    (void)state;
    becomes("", 100, "");
    becomes("KSampler", 100, "KSampler");
    becomes("exactly 16 bytes", 16, "exactly 16 bytes");
    becomes("a longer line of plain text, then \xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xa8 and on", 100,
            "a longer line of plain text, then \xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xa8 and on");
    becomes("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 100, "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
}

#define BAD "\xef\xbf\xbd"

static void every_bad_byte_is_replaced(void **state) {
    (void)state;
    becomes("\xff", 100, BAD);
    becomes("a\x80z", 100, "a" BAD "z");
    becomes("\xc3", 100, BAD);                         /* ends too early */
    becomes("\xe2\x82|", 100, BAD BAD "|");            /* interrupted */
    becomes("\xc0\xaf", 100, BAD BAD);                 /* overlong */
    becomes("\xe0\x9f\xbf", 100, BAD BAD BAD);         /* overlong */
    becomes("\xf0\x8f\xbf\xbf", 100, BAD BAD BAD BAD); /* overlong */
    becomes("\xed\xa0\x80", 100, BAD BAD BAD);         /* surrogate */
    becomes("\xf4\x90\x80\x80", 100, BAD BAD BAD BAD); /* above U+10FFFF */
    becomes("\xf8\x88\x80\x80\x80", 100, BAD BAD BAD BAD BAD);
}

static void long_text_is_cut_before_a_character(void **state) {
    (void)state;
    becomes("0123456789", 9, "012345...");
    becomes("0123456789", 10, "0123456789");
    becomes("01234\xc3\xa4\xc3\xa4\xc3\xa4", 9, "01234...");
    becomes("0123\xc3\xa4\xc3\xa4\xc3\xa4", 9, "0123\xc3\xa4...");
    becomes("\xf0\x9f\x8e\xa8\xf0\x9f\x8e\xa8", 7, "\xf0\x9f\x8e\xa8...");
    becomes("\xf0\x9f\x8e\xa8\xf0\x9f\x8e\xa8", 6, "...");
    becomes("\xff\xff\xff\xff", 9, BAD BAD "...");
    becomes("abcd", 3, "...");
}

/* A second opinion: decodes by arithmetic and checks that the shortest form was used for an allowed number.
 */
static int is_valid(const unsigned char *s, size_t size) {
    static const unsigned long smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < size;) {
        size_t length = s[i] < 0x80 ? 1 : (s[i] & 0xe0) == 0xc0 ? 2 : (s[i] & 0xf0) == 0xe0 ? 3 : 4;
        unsigned long number = length == 1 ? s[i] : s[i] & (0x7fu >> length);
        if (length == 4 && (s[i] & 0xf8) != 0xf0) return 0;
        if (length > size - i) return 0;
        for (size_t k = 1; k < length; k++) {
            if ((s[i + k] & 0xc0) != 0x80) return 0;
            number = number << 6 | (s[i + k] & 0x3f);
        }
        if (number < smallest[length] || number > 0x10ffff || (number >= 0xd800 && number < 0xe000)) return 0;
        i += length;
    }
    return 1;
}

static void exactly_what_is_invalid_changes(void **state) {
    (void)state;
    static const unsigned char bytes[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                          0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
                                          0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
    size_t n = sizeof bytes;
    for (size_t i = 0; i < n * n * n * n; i++) {
        unsigned char text[4] = {bytes[i % n], bytes[i / n % n], bytes[i / n / n % n], bytes[i / n / n / n]};
        char clean[12];
        size_t size = utf8_copy(clean, (const char *)text, sizeof text, 100);
        assert_true(is_valid((const unsigned char *)clean, size));
        assert_int_equal(size == sizeof text && !memcmp(clean, text, size), is_valid(text, sizeof text));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_text_is_kept),
        cmocka_unit_test(every_bad_byte_is_replaced),
        cmocka_unit_test(long_text_is_cut_before_a_character),
        cmocka_unit_test(exactly_what_is_invalid_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

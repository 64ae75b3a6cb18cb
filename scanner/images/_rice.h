/* Rice's code and quantised pixels (FITS standard 4.0, sections 10.2 and 10.4.1), in plain C without Python.

   Nothing is read beyond the end of a stream, whatever it holds, and a damaged stream is refused. Compile without fused
   multiply-add (-ffp-contract=off), so that pixels that were exactly 0 are exactly 0 again. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef _MSC_VER
#include <intrin.h>
#define restrict __restrict
#endif

#define DITHERS 10000
#define DITHERED_ZERO (-2147483646) /* SUBTRACTIVE_DITHER_2's value of pixels that are exactly 0 */

enum { NO_DITHER = -1, SUBTRACTIVE_DITHER_2 = 2 };

static float dithers[DITHERS];

/* Random numbers for dithering. Source: appendix I of the standard. */
static void make_dithers(void)
{
    uint64_t seed = 1;
    for (int i = 0; i < DITHERS; i++) {
        seed = seed * 16807 % 2147483647;
        dithers[i] = (float)(seed / 2147483647.0);
    }
}

/* The first count bits of bits are the next ones of the stream; bits that follow them may have been read already. */
typedef struct {
    const uint8_t *next, *end;
    uint64_t bits;
    int count;
} Stream;

static inline uint64_t big_endian(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, 8);
#if defined(_MSC_VER)
    return _byteswap_uint64(word);
#elif __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

static inline int leading_zeros(uint64_t bits) /* bits must not be 0 */
{
#if defined(_MSC_VER)
    unsigned long place;
    _BitScanReverse64(&place, bits);
    return 63 - (int)place;
#else
    return __builtin_clzll(bits);
#endif
}

/* Read on until there are 49 to 63 bits, or the stream ends. */
static inline void refill(Stream *s)
{
    if (s->end - s->next >= 8) {
        s->bits |= big_endian(s->next) >> s->count;
        s->next += (63 - s->count) >> 3;
        s->count |= 56;
        return;
    }
    for (; s->count <= 48 && s->next < s->end; s->count += 8)
        s->bits |= (uint64_t)*s->next++ << (56 - s->count);
}

/* Take a number of width bits, 1 to 32; -1 where the stream ends. */
static inline int64_t take(Stream *s, int width)
{
    if (s->count < width) {
        refill(s);
        if (s->count < width)
            return -1;
    }
    uint64_t value = s->bits >> (64 - width);
    s->bits <<= width;
    s->count -= width;
    return (int64_t)value;
}

/* Take a number of any length in Rice's code, whose low bits are plain; -1 where the stream ends or it is too large. */
static int64_t take_rice(Stream *s, int low)
{
    int64_t high = 0;
    for (;;) {
        refill(s);
        if (s->count == 0)
            return -1;
        int run = s->bits ? leading_zeros(s->bits) : 64;
        if (run < s->count) {
            high += run;
            s->bits = s->bits << run << 1;
            s->count -= run + 1;
            break;
        }
        high += s->count;
        s->bits = s->bits << (s->count - 1) << 1;
        s->count = 0;
    }
    int64_t rest = low ? take(s, low) : 0;
    return rest < 0 || high >> (32 - low) ? -1 : (high << low | rest);
}

/* A signed difference from the unsigned number that codes it. */
static inline uint32_t unfold(uint32_t difference)
{
    return (difference >> 1) ^ (0u - (difference & 1));
}

/* Decode the size pixels of a part whose integers have width bits. 0, or -1 for a damaged stream. */
static int decode_part(Stream s, int32_t *out, ptrdiff_t size, ptrdiff_t block, int width)
{
    /* header: bits before a block; raw: the code of plain integers */
    const int header = width == 32 ? 5 : width == 16 ? 4 : 3, raw = width == 32 ? 25 : width == 16 ? 14 : 6;
    int64_t first = take(&s, width);
    if (first < 0)
        return -1;
    uint32_t pixel = (uint32_t)first;
    for (ptrdiff_t at = 0, stop; at < size;) {
        stop = size - at < block ? size : at + block;
        const int low = (int)take(&s, header) - 1;
        if (low > raw || low < -1)
            return -1;
        if (low < 0) {
            while (at < stop)
                out[at++] = (int32_t)pixel;
        } else if (low == raw) {
            while (at < stop) {
                int64_t difference = take(&s, width);
                if (difference < 0)
                    return -1;
                out[at++] = (int32_t)(pixel += unfold((uint32_t)difference));
            }
        }
        while (at < stop) {
            refill(&s); /* nearly always enough for four pixels */
            for (ptrdiff_t some = stop - at < 4 ? stop : at + 4; at < some;) {
                const int run = leading_zeros(s.bits | 1), used = run + 1 + low;
                int64_t difference;
                if (used <= s.count) { /* the 1 that ends the run still leads the low bits */
                    difference = ((int64_t)run << low) + (int64_t)(s.bits >> (64 - used)) - ((int64_t)1 << low);
                    s.bits <<= used;
                    s.count -= used;
                } else if ((difference = take_rice(&s, low)) < 0)
                    return -1;
                out[at++] = (int32_t)(pixel += unfold((uint32_t)difference));
            }
        }
    }
    if (width == 16)
        for (ptrdiff_t at = 0; at < size; at++)
            out[at] = (int16_t)out[at];
    if (width == 8) /* these have no sign */
        for (ptrdiff_t at = 0; at < size; at++)
            out[at] = (uint8_t)out[at];
    return s.end - s.next + s.count / 8 > 0 ? -1 : 0; /* every byte must be used */
}

/* How the pixels of a part were quantised (section 10.2). */
typedef struct {
    double scale, zero;
    int row; /* the part's place in the sequence of dithers, from 0 */
    int method, has_blank;
    int32_t blank;
} Quantised;

static void replace(const int32_t *restrict values, float *restrict out, ptrdiff_t size, int32_t value, float by)
{
    for (ptrdiff_t at = 0; at < size; at++)
        out[at] = values[at] == value ? by : out[at];
}

static void restore(const int32_t *restrict values, float *restrict out, ptrdiff_t size, const Quantised *q)
{
    if (q->method == NO_DITHER) {
        for (ptrdiff_t at = 0; at < size; at++)
            out[at] = (float)((double)values[at] * q->scale + q->zero);
    } else {
        int seed = q->row;
        for (ptrdiff_t at = 0; at < size; seed = (seed + 1) % DITHERS) {
            const float *restrict dither = dithers + (int)(dithers[seed] * 500);
            const ptrdiff_t left = dithers + DITHERS - dither, run = size - at < left ? size - at : left;
            for (ptrdiff_t k = 0; k < run; k++)
                out[at + k] = (float)(((double)values[at + k] - dither[k] + 0.5) * q->scale + q->zero);
            at += run;
        }
    }
    if (q->method == SUBTRACTIVE_DITHER_2)
        replace(values, out, size, DITHERED_ZERO, 0);
    if (q->has_blank)
        replace(values, out, size, q->blank, NAN);
}

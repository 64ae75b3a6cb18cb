/* The walk through a stream of HCOMPRESS (FITS standard 4.0, section 10.4.4) that its decoder will take, in plain C.

   The decoder of other libraries reads as many bits as the stream itself says, wherever they end. Here nothing is
   decoded: the walk shows that the stream is of the image that is expected, and that its bits are all there.

   Source: White, Postman & Lattanzi 1992, in Digitised Optical Sky Surveys, p. 167. */

#include "_rice.h"

#define HCOMPRESS_HEADER 25 /* magic, rows, columns, scale, sum of all, three numbers of bit planes */
#define MOST_PLANES 64

static inline int64_t big_endian_32(const uint8_t *bytes)
{
    return (int64_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* Take the code of 2 x 2 pixels: 3 to 6 bits for a number of 4; -1 where the stream ends. */
static int take_code(Stream *s)
{
    static const uint8_t four[] = {3, 5, 10, 12, 15}, five[] = {6, 7, 9, 11, 13};
    int64_t code = take(s, 3);
    if (code < 4)
        return code < 0 ? -1 : 1 << code;
    int64_t bit = take(s, 1);
    code = code << 1 | bit;
    if (bit < 0)
        return -1;
    if (code < 13)
        return four[code - 8];
    bit = take(s, 1);
    code = code << 1 | bit;
    if (bit < 0)
        return -1;
    if (code < 31)
        return five[code - 26];
    bit = take(s, 1);
    return bit < 0 ? -1 : (bit ? 14 : 0);
}

static inline int bit_of(const uint8_t *codes, ptrdiff_t row, ptrdiff_t column, ptrdiff_t wide)
{
    return codes[row / 2 * ((wide + 1) / 2) + column / 2] >> (3 - 2 * (row & 1) - (column & 1)) & 1;
}

/* Walk through the bit planes of a quadrant [high, wide], in an image of stride columns, and mark in filled the pixels
   that are not 0. codes and next have room for one code of 2 x 2 pixels each. 0, or -1 for a damaged stream. */
static int walk_quadrant(Stream *s, uint8_t *filled, ptrdiff_t stride, ptrdiff_t high, ptrdiff_t wide, int planes,
                         uint8_t *codes, uint8_t *next)
{
    int levels = 0;
    while ((ptrdiff_t)1 << levels < (high > wide ? high : wide))
        levels++;
    for (int plane = 0; plane < planes; plane++) {
        const int64_t format = take(s, 4);
        if (format != 0 && format != 15)
            return -1;
        if (format == 0) { /* written as it is */
            for (ptrdiff_t at = 0; at < (high + 1) / 2 * ((wide + 1) / 2); at++) {
                const int64_t code = take(s, 4);
                if (code < 0)
                    return -1;
                codes[at] = (uint8_t)code;
            }
        } else { /* a tree of codes: those of one level say where the next has any */
            int code = take_code(s);
            if (code < 0)
                return -1;
            codes[0] = (uint8_t)code;
            for (int level = levels - 1; level > 0; level--) {
                const ptrdiff_t size = (ptrdiff_t)1 << level, rows = (high + size - 1) / size,
                                columns = (wide + size - 1) / size;
                for (ptrdiff_t row = rows - 1; row >= 0; row--)
                    for (ptrdiff_t column = columns - 1; column >= 0; column--) {
                        if ((code = bit_of(codes, row, column, columns) ? take_code(s) : 0) < 0)
                            return -1;
                        next[row * columns + column] = (uint8_t)code;
                    }
                uint8_t *swap = codes;
                codes = next;
                next = swap;
            }
        }
        for (ptrdiff_t row = 0; row < high; row++)
            for (ptrdiff_t column = 0; column < wide; column++)
                filled[row * stride + column] |= (uint8_t)bit_of(codes, row, column, wide);
    }
    return 0;
}

/* Whether a stream is that of an image [high, wide], both at least 2. filled has room for its pixels, all 0; codes and
   next have room for a quarter of those of a quadrant each. */
static int is_hcompress(const uint8_t *bytes, ptrdiff_t count, ptrdiff_t high, ptrdiff_t wide, uint8_t *filled,
                        uint8_t *codes, uint8_t *next)
{
    if (count < HCOMPRESS_HEADER || bytes[0] != 0xDD || bytes[1] != 0x99 || big_endian_32(bytes + 2) != high ||
        big_endian_32(bytes + 6) != wide)
        return 0;
    const uint8_t *planes = bytes + HCOMPRESS_HEADER - 3;
    if (planes[0] > MOST_PLANES || planes[1] > MOST_PLANES || planes[2] > MOST_PLANES)
        return 0;
    const ptrdiff_t top = (high + 1) / 2, left = (wide + 1) / 2, bottom = high / 2, right = wide / 2;
    Stream s = {bytes + HCOMPRESS_HEADER, bytes + count, 0, 0};
    if (walk_quadrant(&s, filled, wide, top, left, planes[0], codes, next) ||
        walk_quadrant(&s, filled + left, wide, top, right, planes[1], codes, next) ||
        walk_quadrant(&s, filled + top * wide, wide, bottom, left, planes[1], codes, next) ||
        walk_quadrant(&s, filled + top * wide + left, wide, bottom, right, planes[2], codes, next) || take(&s, 4) != 0)
        return 0;
    /* Signs begin with a byte of their own, one bit for each pixel that is not 0. */
    ptrdiff_t signs = 0;
    for (ptrdiff_t at = 0; at < high * wide; at++)
        signs += filled[at];
    return s.end - s.next + s.count / 8 == (signs + 7) / 8;
}

/* Images compressed in parts (FITS standard 4.0, section 10), many parts at a time.

   A survey's images are compressed row by row, and a row is decoded in the time of a few calls from Python. Nothing is
   read beyond a stream's end, whatever is in it; one that is damaged is refused.

   To be compiled without joining a product and a sum in one operation (-ffp-contract=off): pixels that were exactly 0
   shall be so again. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _MSC_VER
#include <intrin.h>
#define restrict __restrict
#endif

#define DITHERS 10000
#define DITHERED_ZERO (-2147483646) /* what SUBTRACTIVE_DITHER_2 makes of pixels that are exactly 0 */

enum { NO_DITHER = -1, SUBTRACTIVE_DITHER_2 = 2 };

static float dithers[DITHERS];

/* Appendix I of the standard. */
static void make_dithers(void)
{
    uint64_t seed = 1;
    for (int i = 0; i < DITHERS; i++) {
        seed = seed * 16807 % 2147483647;
        dithers[i] = (float)(seed / 2147483647.0);
    }
}

/* Rice's code (section 10.4.1). The next ``count`` bits, and more where they were read already, lead ``bits``. */
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

static inline int leading_zeros(uint64_t bits) /* of any bits but none */
{
#if defined(_MSC_VER)
    unsigned long place;
    _BitScanReverse64(&place, bits);
    return 63 - (int)place;
#else
    return __builtin_clzll(bits);
#endif
}

/* At least 49 bits, at most 63, unless the stream ends. */
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

/* A number of ``width`` bits, 1 to 32; -1 where the stream ends. */
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

/* A number in Rice's code, its ``low`` bits as they are, however far it reaches; -1 where it ends or is too large. */
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

static inline uint32_t unfolded(uint32_t difference)
{
    return (difference >> 1) ^ (0u - (difference & 1));
}

/* The ``size`` pixels of a part whose integers have ``width`` bits. 0, or -1: the stream is refused. */
static int decode_part(Stream s, int32_t *out, Py_ssize_t size, Py_ssize_t block, int width)
{
    const int header = width == 32 ? 5 : 4, raw = width == 32 ? 25 : 14; /* bits before a block; what says "as it is" */
    int64_t first = take(&s, width);
    if (first < 0)
        return -1;
    uint32_t pixel = (uint32_t)first;
    for (Py_ssize_t at = 0, stop; at < size;) {
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
                out[at++] = (int32_t)(pixel += unfolded((uint32_t)difference));
            }
        }
        while (at < stop) {
            refill(&s); /* enough for some pixels, nearly always */
            for (Py_ssize_t some = stop - at < 4 ? stop : at + 4; at < some;) {
                const int run = leading_zeros(s.bits | 1), used = run + 1 + low;
                int64_t difference;
                if (used <= s.count) { /* the one that ends the run is still there, in front of the low bits */
                    difference = ((int64_t)run << low) + (int64_t)(s.bits >> (64 - used)) - ((int64_t)1 << low);
                    s.bits <<= used;
                    s.count -= used;
                } else if ((difference = take_rice(&s, low)) < 0)
                    return -1;
                out[at++] = (int32_t)(pixel += unfolded((uint32_t)difference));
            }
        }
    }
    if (width == 16)
        for (Py_ssize_t at = 0; at < size; at++)
            out[at] = (int16_t)out[at];
    return s.end - s.next + s.count / 8 > 0 ? -1 : 0; /* no byte may be left over */
}

/* How the pixels of a part were made integers (section 10.2). */
typedef struct {
    double scale, zero;
    int row; /* the part's place in the sequence of dithers, counted from 0 */
    int method, has_blank;
    int32_t blank;
} Quantised;

static void replace(const int32_t *restrict values, float *restrict out, Py_ssize_t size, int32_t value, float by)
{
    for (Py_ssize_t at = 0; at < size; at++)
        out[at] = values[at] == value ? by : out[at];
}

static void restore(const int32_t *restrict values, float *restrict out, Py_ssize_t size, const Quantised *q)
{
    if (q->method == NO_DITHER) {
        for (Py_ssize_t at = 0; at < size; at++)
            out[at] = (float)((double)values[at] * q->scale + q->zero);
    } else {
        int seed = q->row;
        for (Py_ssize_t at = 0; at < size; seed = (seed + 1) % DITHERS) {
            const float *restrict dither = dithers + (int)(dithers[seed] * 500);
            const Py_ssize_t left = dithers + DITHERS - dither, run = size - at < left ? size - at : left;
            for (Py_ssize_t k = 0; k < run; k++)
                out[at + k] = (float)(((double)values[at + k] - dither[k] + 0.5) * q->scale + q->zero);
            at += run;
        }
    }
    if (q->method == SUBTRACTIVE_DITHER_2)
        replace(values, out, size, DITHERED_ZERO, 0);
    if (q->has_blank)
        replace(values, out, size, q->blank, NAN);
}

/* Arguments that functions of Rice's code have. */
typedef struct {
    Py_buffer heap, parts, out;
    Py_ssize_t size, block, count;
    int width;
} Given;

static void release(Given *g)
{
    PyBuffer_Release(&g->heap);
    PyBuffer_Release(&g->parts);
    PyBuffer_Release(&g->out);
}

/* Whether sizes fit each other; sets ``ValueError`` where not. Each part has some pixels of ``out``. */
static int fits(Given *g)
{
    const Py_ssize_t pixels = g->out.len / 4;
    g->count = g->parts.len / 16;
    if ((g->width == 2 || g->width == 4) && g->size > 0 && g->block > 0 && g->out.len % 4 == 0 &&
        g->parts.len % 16 == 0 && pixels > 0 && g->size <= pixels && (pixels - 1) / g->size + 1 == g->count) {
        const int64_t *part = g->parts.buf;
        for (Py_ssize_t k = 0; k < g->count; k++, part += 2)
            if (part[0] < 0 || (part[0] && (part[1] < 0 || part[1] > g->heap.len || part[0] > g->heap.len - part[1]))) {
                PyErr_SetString(PyExc_ValueError, "parts lie outside of the heap");
                return 0;
            }
        return 1;
    }
    PyErr_SetString(PyExc_ValueError, "parts and pixels do not fit each other");
    return 0;
}

static Py_ssize_t pixels_of(const Given *g, Py_ssize_t part)
{
    const Py_ssize_t left = g->out.len / 4 - part * g->size;
    return left < g->size ? left : g->size;
}

static Stream stream_of(const Given *g, Py_ssize_t part)
{
    const int64_t *place = (const int64_t *)g->parts.buf + 2 * part;
    const uint8_t *start = (const uint8_t *)g->heap.buf + place[1];
    return (Stream){start, start + place[0], 0, 0};
}

static int is_empty(const Given *g, Py_ssize_t part)
{
    return ((const int64_t *)g->parts.buf)[2 * part] == 0;
}

static PyObject *answer(Given *g, Py_ssize_t refused)
{
    release(g);
    if (refused < 0)
        Py_RETURN_NONE;
    return PyLong_FromSsize_t(refused);
}

static PyObject *rice(PyObject *Py_UNUSED(module), PyObject *args)
{
    Given g;
    Py_ssize_t refused = -1;
    if (!PyArg_ParseTuple(args, "y*y*nniw*:rice", &g.heap, &g.parts, &g.size, &g.block, &g.width, &g.out))
        return NULL;
    if (!fits(&g)) {
        release(&g);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t k = 0; k < g.count && refused < 0; k++)
        if (!is_empty(&g, k) && decode_part(stream_of(&g, k), (int32_t *)g.out.buf + k * g.size, pixels_of(&g, k),
                                            g.block, 8 * g.width))
            refused = k;
    Py_END_ALLOW_THREADS
    return answer(&g, refused);
}

static PyObject *rice_quantised(PyObject *Py_UNUSED(module), PyObject *args)
{
    Given g;
    Py_buffer scale, zero;
    Quantised q = {0};
    PyObject *blank;
    long long row;
    Py_ssize_t refused = -1;
    int32_t *values = NULL;
    if (!PyArg_ParseTuple(args, "y*y*nniw*y*y*LiO:rice_quantised", &g.heap, &g.parts, &g.size, &g.block, &g.width,
                          &g.out, &scale, &zero, &row, &q.method, &blank))
        return NULL;
    if (fits(&g)) {
        const Py_ssize_t wanted = g.count * (Py_ssize_t)sizeof(double);
        const long long value = blank == Py_None ? INT64_MAX : PyLong_AsLongLong(blank);
        q.has_blank = value >= INT32_MIN && value <= INT32_MAX;
        q.blank = (int32_t)value;
        q.row = (int)((row % DITHERS + DITHERS) % DITHERS); /* a row of -1 comes before the first: it has the last one's */
        if (scale.len != wanted || zero.len != wanted)
            PyErr_SetString(PyExc_ValueError, "each part has a scale and a zero");
        else if (!PyErr_Occurred() && !(values = malloc((size_t)g.size * sizeof *values)))
            PyErr_NoMemory();
    }
    if (values) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t k = 0; k < g.count && refused < 0; k++, q.row = (q.row + 1) % DITHERS) {
            q.scale = ((const double *)scale.buf)[k];
            q.zero = ((const double *)zero.buf)[k];
            if (is_empty(&g, k))
                continue;
            if (decode_part(stream_of(&g, k), values, pixels_of(&g, k), g.block, 8 * g.width))
                refused = k;
            else
                restore(values, (float *)g.out.buf + k * g.size, pixels_of(&g, k), &q);
        }
        Py_END_ALLOW_THREADS
    }
    free(values);
    PyBuffer_Release(&scale);
    PyBuffer_Release(&zero);
    if (PyErr_Occurred()) {
        release(&g);
        return NULL;
    }
    return answer(&g, refused);
}

/* Values of which the first bytes of all come first, then the second ones (section 10.4.2, GZIP_2). */
#define UNSHUFFLE(TYPE)                                                                                                \
    for (Py_ssize_t at = 0; at < count; at++) {                                                                        \
        TYPE value = 0;                                                                                                \
        for (size_t byte = 0; byte < sizeof(TYPE); byte++)                                                             \
            value = (TYPE)(value << 8 | bytes[byte * (size_t)count + (size_t)at]);                                     \
        ((TYPE *)out.buf)[at] = value;                                                                                 \
    }

static PyObject *unshuffle(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw, out;
    int size;
    if (!PyArg_ParseTuple(args, "y*iw*:unshuffle", &raw, &size, &out))
        return NULL;
    const uint8_t *bytes = raw.buf;
    const int sound = (size == 2 || size == 4 || size == 8) && raw.len == out.len && raw.len % size == 0;
    const Py_ssize_t count = sound ? raw.len / size : 0;
    if (size == 2) {
        UNSHUFFLE(uint16_t)
    } else if (size == 4) {
        UNSHUFFLE(uint32_t)
    } else {
        UNSHUFFLE(uint64_t)
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&out);
    if (sound)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError, "bytes and values do not fit each other");
    return NULL;
}

static PyMethodDef methods[] = {
    {"rice", rice, METH_VARARGS,
     "rice(heap, parts, size, block, width, out)\n--\n\n"
     "Fill out, int32 [P], with the pixels of parts in Rice's code, each of size pixels, the last of what is left.\n\n"
     "parts, int64 [N, 2], says how many bytes of the heap each has and where they begin; where a part has none, out is\n"
     "left as it is. block is in pixels, width in bytes (2 or 4). Returns the number of the first part that is damaged, or\n"
     "None where none is."},
    {"rice_quantised", rice_quantised, METH_VARARGS,
     "rice_quantised(heap, parts, size, block, width, out, scale, zero, row, method, blank)\n--\n\n"
     "The same for out, float32 [P], and parts that were quantised with scale and zero, float64 [N] each.\n\n"
     "row is the first part's place in the sequence of dithers, from 0; method is -1 (no dither), 1 or 2; pixels that\n"
     "are blank, unless that is None, become NaN."},
    {"unshuffle", unshuffle, METH_VARARGS,
     "unshuffle(raw, size, out)\n--\n\n"
     "Fill out with values of size bytes (2, 4 or 8), of which raw has the first bytes of all, then the second ones."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_decoders", "Decoders of compressed FITS images.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__decoders(void)
{
    make_dithers();
    return PyModule_Create(&definition);
}

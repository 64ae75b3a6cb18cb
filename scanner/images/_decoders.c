/* Decoders of images that are compressed in parts (FITS standard 4.0, section 10), many parts in one call, and of plain
   numbers.

   Images of a survey are compressed row by row, and decoding a row takes no longer than a few calls from Python. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "_hcompress.h"

#define MOST_PIXELS ((Py_ssize_t)1 << 30) /* of an image that HCOMPRESS may hold */

/* Arguments of both functions for Rice's code. */
typedef struct {
    Py_buffer heap, parts, out;
    Py_ssize_t size, block, count;
    int width;
} Arguments;

static void release(Arguments *a)
{
    PyBuffer_Release(&a->heap);
    PyBuffer_Release(&a->parts);
    PyBuffer_Release(&a->out);
}

/* Whether the sizes agree; sets ValueError where they do not. Each part fills some pixels of out. */
static int sizes_agree(Arguments *a)
{
    const Py_ssize_t pixels = a->out.len / 4;
    a->count = a->parts.len / 16;
    if ((a->width == 1 || a->width == 2 || a->width == 4) && a->size > 0 && a->block > 0 && a->out.len % 4 == 0 &&
        a->parts.len % 16 == 0 && pixels > 0 && a->size <= pixels && (pixels - 1) / a->size + 1 == a->count) {
        const int64_t *part = a->parts.buf;
        for (Py_ssize_t k = 0; k < a->count; k++, part += 2)
            if (part[0] < 0 || (part[0] && (part[1] < 0 || part[1] > a->heap.len || part[0] > a->heap.len - part[1]))) {
                PyErr_SetString(PyExc_ValueError, "parts lie outside of the heap");
                return 0;
            }
        return 1;
    }
    PyErr_SetString(PyExc_ValueError, "parts and pixels do not fit each other");
    return 0;
}

static Py_ssize_t pixels_of(const Arguments *a, Py_ssize_t part)
{
    const Py_ssize_t left = a->out.len / 4 - part * a->size;
    return left < a->size ? left : a->size;
}

static Stream stream_of(const Arguments *a, Py_ssize_t part)
{
    const int64_t *place = (const int64_t *)a->parts.buf + 2 * part;
    const uint8_t *start = (const uint8_t *)a->heap.buf + place[1];
    return (Stream){start, start + place[0], 0, 0};
}

static int is_empty(const Arguments *a, Py_ssize_t part)
{
    return ((const int64_t *)a->parts.buf)[2 * part] == 0;
}

/* Release the arguments; the number of the damaged part, or None for -1. */
static PyObject *finish(Arguments *a, Py_ssize_t damaged)
{
    release(a);
    if (damaged < 0)
        Py_RETURN_NONE;
    return PyLong_FromSsize_t(damaged);
}

static PyObject *rice(PyObject *Py_UNUSED(module), PyObject *args)
{
    Arguments a;
    Py_ssize_t damaged = -1;
    if (!PyArg_ParseTuple(args, "y*y*nniw*:rice", &a.heap, &a.parts, &a.size, &a.block, &a.width, &a.out))
        return NULL;
    if (!sizes_agree(&a)) {
        release(&a);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t k = 0; k < a.count && damaged < 0; k++)
        if (!is_empty(&a, k) && decode_part(stream_of(&a, k), (int32_t *)a.out.buf + k * a.size, pixels_of(&a, k),
                                            a.block, 8 * a.width))
            damaged = k;
    Py_END_ALLOW_THREADS
    return finish(&a, damaged);
}

static PyObject *rice_quantised(PyObject *Py_UNUSED(module), PyObject *args)
{
    Arguments a;
    Py_buffer scale, zero;
    Quantised q = {0};
    PyObject *blank;
    long long row;
    Py_ssize_t damaged = -1;
    int32_t *values = NULL;
    if (!PyArg_ParseTuple(args, "y*y*nniw*y*y*LiO:rice_quantised", &a.heap, &a.parts, &a.size, &a.block, &a.width,
                          &a.out, &scale, &zero, &row, &q.method, &blank))
        return NULL;
    if (sizes_agree(&a)) {
        const Py_ssize_t size = a.count * (Py_ssize_t)sizeof(double);
        const long long value = blank == Py_None ? INT64_MAX : PyLong_AsLongLong(blank);
        q.has_blank = value >= INT32_MIN && value <= INT32_MAX;
        q.blank = (int32_t)value;
        q.row = (int)((row % DITHERS + DITHERS) % DITHERS); /* -1, before the first, takes the last one */
        if (scale.len != size || zero.len != size)
            PyErr_SetString(PyExc_ValueError, "each part needs a scale and a zero");
        else if (!PyErr_Occurred() && !(values = malloc((size_t)a.size * sizeof *values)))
            PyErr_NoMemory();
    }
    if (values) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t k = 0; k < a.count && damaged < 0; k++, q.row = (q.row + 1) % DITHERS) {
            q.scale = ((const double *)scale.buf)[k];
            q.zero = ((const double *)zero.buf)[k];
            if (is_empty(&a, k))
                continue;
            if (decode_part(stream_of(&a, k), values, pixels_of(&a, k), a.block, 8 * a.width))
                damaged = k;
            else
                restore(values, (float *)a.out.buf + k * a.size, pixels_of(&a, k), &q);
        }
        Py_END_ALLOW_THREADS
    }
    free(values);
    PyBuffer_Release(&scale);
    PyBuffer_Release(&zero);
    if (PyErr_Occurred()) {
        release(&a);
        return NULL;
    }
    return finish(&a, damaged);
}

/* Values whose first bytes come first, then all second bytes, and so on (section 10.4.2, GZIP_2). */
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
    const int valid = (size == 2 || size == 4 || size == 8) && raw.len == out.len && raw.len % size == 0;
    const Py_ssize_t count = valid ? raw.len / size : 0;
    if (size == 2) {
        UNSHUFFLE(uint16_t)
    } else if (size == 4) {
        UNSHUFFLE(uint32_t)
    } else {
        UNSHUFFLE(uint64_t)
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&out);
    if (valid)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError, "bytes and values do not fit each other");
    return NULL;
}

static PyObject *is_hcompressed(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer stream;
    Py_ssize_t high, wide;
    int answer = 0;
    if (!PyArg_ParseTuple(args, "y*nn:is_hcompressed", &stream, &high, &wide))
        return NULL;
    if (high < 2 || wide < 2 || high > MOST_PIXELS / wide) {
        PyBuffer_Release(&stream);
        PyErr_SetString(PyExc_ValueError, "no image of such a size is compressed by HCOMPRESS");
        return NULL;
    }
    /* One byte for each pixel, and codes of 2 x 2 pixels of a quadrant twice. */
    const size_t pixels = (size_t)high * (size_t)wide, codes = (size_t)((high + 3) / 4) * (size_t)((wide + 3) / 4);
    uint8_t *room = calloc(pixels + 2 * codes, 1);
    if (room) {
        Py_BEGIN_ALLOW_THREADS
        answer = is_hcompress(stream.buf, stream.len, high, wide, room, room + pixels, room + pixels + codes);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&stream);
    if (!room)
        return PyErr_NoMemory();
    free(room);
    return PyBool_FromLong(answer);
}

/* One pass over pixels, where numpy takes one each to change the byte order, multiply, compare and fill: the values are
   in the processor's cache once, and out is written once. ORDER turns the bits of a value into native order. */
#define SCALE(ORDER)                                                                                                   \
    for (Py_ssize_t at = 0; at < count; at++) {                                                                        \
        uint32_t bits;                                                                                                 \
        float value;                                                                                                   \
        memcpy(&bits, bytes + 4 * at, sizeof bits);                                                                    \
        bits = ORDER(bits);                                                                                            \
        memcpy(&value, &bits, sizeof value);                                                                           \
        value *= factor;                                                                                               \
        /* Without branches, so that compilers make vectors of it; comparisons with NaN are false. */                  \
        const int known = (value > low) & (value < high) & ((value != 0) | keeps_zero);                                \
        pixels[at] = known ? value : missing;                                                                          \
    }
#define AS_IT_IS(BITS) (BITS)
#define SWAPPED(BITS) ((BITS) >> 24 | ((BITS) >> 8 & 0xff00u) | ((BITS) << 8 & 0xff0000u) | (BITS) << 24)

static PyObject *scale(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw, out;
    int is_swapped, zero_is_missing;
    float factor, low, high;
    if (!PyArg_ParseTuple(args, "y*pfffpw*:scale", &raw, &is_swapped, &factor, &low, &high, &zero_is_missing, &out))
        return NULL;
    const int valid = raw.len == out.len && raw.len % 4 == 0;
    if (valid) {
        const uint8_t *bytes = raw.buf;
        float *pixels = out.buf;
        const Py_ssize_t count = raw.len / 4;
        const int keeps_zero = !zero_is_missing;
        const float missing = NAN;
        Py_BEGIN_ALLOW_THREADS
        if (is_swapped) {
            SCALE(SWAPPED)
        } else {
            SCALE(AS_IT_IS)
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&out);
    if (valid)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError, "values and pixels do not fit each other");
    return NULL;
}

static PyMethodDef methods[] = {
    {"rice", rice, METH_VARARGS,
     "rice(heap, parts, size, block, width, out)\n--\n\n"
     "Fill out, int32 [P], with the pixels of parts in Rice's code, size pixels each; the last part has the rest.\n\n"
     "parts, int64 [N, 2], gives the number of bytes of each part in the heap and the first of them; a part without\n"
     "bytes leaves out as it is. block is in pixels, width in bytes (1, 2 or 4). Returns the number of the first damaged\n"
     "part, or None."},
    {"rice_quantised", rice_quantised, METH_VARARGS,
     "rice_quantised(heap, parts, size, block, width, out, scale, zero, row, method, blank)\n--\n\n"
     "The same for out, float32 [P], and parts that were quantised with scale and zero, float64 [N] each.\n\n"
     "row is the first part's place in the sequence of dithers, from 0; method is -1 (no dither), 1 or 2; pixels of\n"
     "the value blank become NaN, unless blank is None."},
    {"unshuffle", unshuffle, METH_VARARGS,
     "unshuffle(raw, size, out)\n--\n\n"
     "Fill out with values of size bytes (2, 4 or 8), of which raw holds all first bytes, then all second bytes."},
    {"is_hcompressed", is_hcompressed, METH_VARARGS,
     "is_hcompressed(stream, high, wide)\n--\n\n"
     "Whether a stream of HCOMPRESS holds an image of high x wide pixels, and each of its bits."},
    {"scale", scale, METH_VARARGS,
     "scale(raw, is_swapped, factor, low, high, zero_is_missing, out)\n--\n\n"
     "Fill out, float32 [P], with the values of raw, float32 [P], times factor; is_swapped: in the other byte order.\n\n"
     "Products that are not between low and high become NaN, and with zero_is_missing also those that are 0."},
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

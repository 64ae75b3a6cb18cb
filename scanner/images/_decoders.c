/* Images compressed in parts (FITS standard 4.0, section 10), many parts at a time.

   A survey's images are compressed row by row, and a row is decoded in the time of a few calls from Python. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdlib.h>

#include "_rice.h"

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

/* The stored JPEG tiles under one output tile, turned into that tile's JPEG at half scale.
 *
 *     halve(streams, columns, quality, planes) -> bytes
 *
 * Written from ITU-T T.81 (09/92), whose clauses are named where they are followed. It does only
 * what whole-slide scanners write: baseline, 8 bits, YCbCr at 4:2:0, 4:2:2 or 4:4:4. Anything else
 * and anything damaged is refused with a reason, and the caller asks libjpeg instead; that makes
 * it safe to be strict. The interpreter's lock is released while it works.
 *
 * What makes it fast: half of the picture comes out of the inverse transform directly; colors are
 * never converted; one table lookup gives a Huffman code with its coefficient; two streams are read
 * in turns, so that one's lookup is under way while the other's result is used; and the transforms
 * work on eight neighboring blocks at a time, one in each lane of a vector. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__)
#error "needs the builtins of gcc or clang"
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* One after the other, each using those before it. */
#include "fastjpeg/sizes.h"
#include "fastjpeg/huffman.h"
#include "fastjpeg/headers.h"
#include "fastjpeg/coefficients.h"
#include "fastjpeg/vectors.h"
#include "fastjpeg/transforms.h"
#include "fastjpeg/decode.h"
#include "fastjpeg/encode.h"

/* ------------------------------------------------------------------------------------------------
 * All of it, without the interpreter's lock. */

typedef struct {
    const uint8_t *bytes;
    size_t length;
} Stream;

static Reason decode_some(Workspace *work, const Stream *streams, int number, Header *headers,
                          Target *targets) {
    Scan scans[2];
    Reason why = NULL;
    int i, j;
    memset(scans, 0, sizeof scans);
    for (i = 0; i < number && !why; i++) {
        const Header *header = &headers[i];
        int is_wide = header->across > header->down;
        size_t narrow = is_wide ? (size_t)header->width / 4 * header->height : 0;
        why = grow(&work->scans[i], &work->room[i], streams[i].length + PAD + 32);
        if (!why) why = grow(&work->narrow, &work->narrow_room, number * narrow);
        scans[i].header = header;
        scans[i].buffer = work->scans[i];
        scans[i].groups = work->groups[i];
        scans[i].rest = header->scan;
        for (j = 0; j < 3; j++)
            inverse_weights(header->quantizers[j], !j || header->down == 1, targets[i].weights[j]);
    }
    for (i = 0; i < number && !why; i++)
        targets[i].narrow = work->narrow ? work->narrow + i * (work->narrow_room / 2) : NULL;
    return why ? why : decode(scans, targets, number);
}

static Reason halve(Workspace *work, const Stream *streams, uint32_t number, uint32_t columns,
                    int quality, uint8_t *planes, size_t room, size_t *length) {
    uint32_t width = 0, height = 0, i, j, k;
    Reason why = NULL;
    for (i = 0; i < number; i += 2) {
        Header headers[2];
        Target targets[2];
        uint32_t some = number - i < 2 ? 1 : 2;
        work->age++;
        for (j = 0; j < some; j++) {
            const Stream *stream = &streams[i + j];
            why = read_header(stream->bytes, stream->bytes + stream->length, work, &headers[j]);
            if (why) return why;
            if (!width) {
                width = headers[0].width / 2;
                height = headers[0].height / 2;
                if ((uint64_t)width * columns > 65535 ||
                    (uint64_t)height * (number / columns) > 65535 ||
                    (uint64_t)width * height * number * 3 != room)
                    return "the planes do not have the size of the tiles";
            }
            if (headers[j].width != 2 * width || headers[j].height != 2 * height)
                return "the streams differ in size";
            targets[j].stride = (size_t)width * columns;
            for (k = 0; k < 3; k++)
                targets[j].pixels[k] = planes + k * (room / 3) + (i + j) % columns * (size_t)width +
                                       (i + j) / columns * targets[j].stride * height;
        }
        if (some == 2 && (headers[0].across != headers[1].across ||
                          headers[0].down != headers[1].down))
            return "the streams differ in subsampling";
        why = decode_some(work, streams + i, (int)some, headers, targets);
        if (why) return why;
    }
    return encode(work, planes, width * columns, height * (number / columns), quality, length);
}

/* ------------------------------------------------------------------------------------------------
 * The module. Workspaces are taken and given back under the interpreter's lock. */

static Workspace *idle[MAX_IDLE];
static int num_idle = 0;

static void discard(Workspace *work) {
    if (!work) return;
    free(work->scans[0]);
    free(work->scans[1]);
    free(work->narrow);
    free(work->out);
    free(work->stripe);
    free(work);
}

static PyObject *halve_to_bytes(const Stream *streams, uint32_t number, uint32_t columns,
                                int quality, Py_buffer *planes) {
    Workspace *work = num_idle ? idle[--num_idle] : calloc(1, sizeof *work);
    PyObject *result = NULL;
    size_t length = 0;
    Reason why;
    if (!work) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS;
    why = halve(work, streams, number, columns, quality, planes->buf, (size_t)planes->len, &length);
    Py_END_ALLOW_THREADS;
    if (why)
        PyErr_SetString(PyExc_ValueError, why);
    else
        result = PyBytes_FromStringAndSize((const char *)work->out, (Py_ssize_t)length);
    if (num_idle < MAX_IDLE)
        idle[num_idle++] = work;
    else
        discard(work);
    return result;
}

static PyObject *py_halve(PyObject *module, PyObject *arguments) {
    PyObject *sequence, *tuple, *planes, *result = NULL;
    Py_buffer view;
    Stream streams[MAX_STREAMS];
    Py_ssize_t number, i;
    int columns, quality;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OiiO:halve", &sequence, &columns, &quality, &planes))
        return NULL;
    if (!(tuple = PySequence_Tuple(sequence))) return NULL;
    number = PyTuple_Size(tuple);
    if (number < 1 || number > MAX_STREAMS || columns < 1 || columns > number ||
        number % columns || quality < 1 || quality > 100) {
        PyErr_SetString(PyExc_ValueError, "streams, columns or quality are out of range");
        Py_DECREF(tuple);
        return NULL;
    }
    for (i = 0; i < number; i++) {
        char *bytes;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(tuple, i), &bytes, &length) < 0) {
            Py_DECREF(tuple);
            return NULL;
        }
        streams[i].bytes = (const uint8_t *)bytes;
        streams[i].length = (size_t)length;
    }
    if (PyObject_GetBuffer(planes, &view, PyBUF_CONTIG) == 0) {
        if (view.itemsize != 1)
            PyErr_SetString(PyExc_ValueError, "planes are not of bytes");
        else
            result = halve_to_bytes(streams, (uint32_t)number, (uint32_t)columns, quality, &view);
        PyBuffer_Release(&view);
    }
    Py_DECREF(tuple);
    return result;
}

static PyMethodDef methods[] = {
    {"halve", py_halve, METH_VARARGS,
     "halve(streams, columns, quality, planes)\n--\n\n"
     "The JPEG of a mosaic of JPEG streams at half scale.\n\n"
     "streams  rows * columns baseline YCbCr streams, bytes, all of one size\n"
     "quality  1 to 100, of the new stream, which is not subsampled\n"
     "planes   where the mosaic's YCbCr goes: writable bytes, (3, height, width)\n"
     "Raises ValueError for a stream that is damaged or not of this kind."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_fastjpeg", "JPEG tiles to a JPEG tile of half scale.", -1, methods,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__fastjpeg(void) {
    choose_kernels();
    fill_codes();
    return PyModule_Create(&definition);
}

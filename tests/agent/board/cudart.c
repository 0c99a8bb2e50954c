/* The CUDA runtime of a board that is not there. What is put into a stream takes time, and is done when somebody
 * waits for it: who forgets to wait finds what was there before. A stream that records does nothing at all.
 * CUDA_VERSION says of which release it is, e.g. 10020.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OUT_OF_MEMORY = 2, INVALID = 1, ILLEGAL_STATE = 401, UNSUPPORTED = 900, INVALIDATED, IMPLICIT = 906, CAPTURED };
enum { DEVICE, PINNED, STREAMS, EVENTS, GRAPHS, EXECUTABLES, KINDS };
enum { IDLE, RECORDING, BROKEN };

typedef struct op {
  double seconds;
  void (*run)(void);
  void *target;
  const void *source;
  size_t size;
  struct op *next;
} op_t;
typedef struct { op_t *first, *last; } ops_t;
typedef struct stream {
  double busy_until_s;
  int state;
  ops_t ops, recorded;
  struct stream *next;
} stream_t;
typedef struct { double at_s; stream_t *stream; int captured; } event_t;
typedef struct pinned { char *begin, *end; struct pinned *next; } pinned_t;

static long live[KINDS];
static int last_error;
static stream_t *streams;
static pinned_t *pinned;

static int fail(int status) { return last_error = status; }

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void sleep_until(double at_s) {
  double left_s = at_s - now_s();
  if (left_s > 0) {
    struct timespec pause = {(time_t)left_s, (long)(1e9 * (left_s - (time_t)left_s))};
    nanosleep(&pause, NULL);
  }
}

static double reached_s(const stream_t *stream) {
  double now = now_s();
  return stream->busy_until_s > now ? stream->busy_until_s : now;
}

static void append(ops_t *ops, op_t what) {
  op_t *op = malloc(sizeof *op);
  *op = what;
  op->next = NULL;
  if (ops->first == NULL) ops->first = op;
  else ops->last->next = op;
  ops->last = op;
}

static void forget(ops_t *ops) {
  while (ops->first != NULL) {
    op_t *op = ops->first;
    ops->first = op->next;
    free(op);
  }
}

/* Everything that was put into a stream, done in order. */
static void drain(stream_t *stream) {
  sleep_until(stream->busy_until_s);
  for (op_t *op = stream->ops.first; op != NULL; op = op->next) {
    if (op->run != NULL) op->run();
    else memcpy(op->target, op->source, op->size);
  }
  forget(&stream->ops);
}

/* Put something into a stream, or into what it records. */
static int put(stream_t *stream, op_t op) {
  if (stream->state == BROKEN) return fail(INVALIDATED);
  if (stream->state == RECORDING) {
    append(&stream->recorded, op);
    return 0;
  }
  stream->busy_until_s = reached_s(stream) + op.seconds;
  append(&stream->ops, op);
  return 0;
}

/* A call that nobody may make while a stream of this thread records: that recording is lost. */
static int forbidden(int status) {
  int found = 0;
  for (stream_t *stream = streams; stream != NULL; stream = stream->next) {
    if (stream->state != IDLE) {
      stream->state = BROKEN;
      found = 1;
    }
  }
  return found ? fail(status) : 0;
}

/* What the GPU does for one call of an engine. */
int fake_enqueue(stream_t *stream, double seconds, void (*run)(void)) {
  return put(stream, (op_t){.seconds = seconds, .run = run});
}

int fake_recording(const stream_t *stream) { return stream->state != IDLE; }

long fake_live(int kind) { return live[kind]; }

int cudaGetLastError(void) {
  int status = last_error;
  last_error = 0;
  return status;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  const char *told = getenv("FAKE_CUDA_CAPABILITY");
  const char *capability = told == NULL ? "6.2" : told;
  if (device != 0) return fail(101);
  if (attribute == 18) *value = getenv("FAKE_CUDA_CARD") == NULL;
  else if (attribute == 75) *value = atoi(capability);
  else if (attribute == 76) *value = atoi(strchr(capability, '.') + 1);
  else return fail(INVALID);
  return 0;
}

int cudaFree(void *address) {
  int status = forbidden(UNSUPPORTED);
  if (status != 0 || address == NULL) return status;
  free(address);
  live[DEVICE]--;
  return 0;
}

int cudaMalloc(void **address, size_t size) {
  const char *limit = getenv("FAKE_CUDA_LIMIT");
  int status = forbidden(UNSUPPORTED);
  if (status != 0) return status;
  if (limit != NULL && size > strtoul(limit, NULL, 10)) return fail(OUT_OF_MEMORY);
  *address = calloc(1, size);
  live[DEVICE]++;
  return 0;
}

int cudaHostAlloc(void **address, size_t size, unsigned flags) {
  int status = forbidden(UNSUPPORTED);
  if (status != 0) return status;
  if (flags != 0) return fail(INVALID);
  if (getenv("FAKE_NO_PINNED") != NULL) return fail(OUT_OF_MEMORY);
  pinned_t *made = malloc(sizeof *made);
  *address = made->begin = calloc(1, size);
  made->end = made->begin + size;
  made->next = pinned;
  pinned = made;
  live[PINNED]++;
  return 0;
}

int cudaFreeHost(void *address) {
  int status = forbidden(UNSUPPORTED);
  if (status != 0) return status;
  for (pinned_t **place = &pinned; *place != NULL; place = &(*place)->next) {
    pinned_t *found = *place;
    if (found->begin == address) {
      *place = found->next;
      free(found->begin);
      free(found);
      live[PINNED]--;
      return 0;
    }
  }
  return fail(INVALID);
}

int cudaMemcpy(void *target, const void *source, size_t size, int kind) {
  int status = forbidden(IMPLICIT);
  if (status != 0) return status;
  if (kind != 1 && kind != 2) return fail(INVALID);
  for (stream_t *stream = streams; stream != NULL; stream = stream->next) drain(stream);
  memcpy(target, source, size);
  return 0;
}

/* Stricter than the real one, which takes any memory and is slow where it is not pinned. */
int cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, stream_t *stream) {
  const char *host = kind == 1 ? source : target;
  if (kind != 1 && kind != 2) return fail(INVALID);
  for (pinned_t *found = pinned; found != NULL; found = found->next)
    if (host >= found->begin && host + size <= found->end)
      return put(stream, (op_t){.target = target, .source = source, .size = size});
  return fail(INVALID);
}

int cudaStreamCreate(stream_t **stream) {
  *stream = calloc(1, sizeof **stream);
  (*stream)->next = streams;
  streams = *stream;
  live[STREAMS]++;
  return 0;
}

int cudaStreamDestroy(stream_t *stream) {
  for (stream_t **place = &streams; *place != NULL; place = &(*place)->next) {
    if (*place == stream) {
      *place = stream->next;
      forget(&stream->ops);
      forget(&stream->recorded);
      free(stream);
      live[STREAMS]--;
      return 0;
    }
  }
  return fail(INVALID);
}

int cudaStreamSynchronize(stream_t *stream) {
  if (stream->state != IDLE) return forbidden(UNSUPPORTED);
  drain(stream);
  return 0;
}

int cudaEventCreate(event_t **event) {
  *event = calloc(1, sizeof **event);
  live[EVENTS]++;
  return 0;
}

int cudaEventDestroy(event_t *event) {
  free(event);
  live[EVENTS]--;
  return 0;
}

int cudaEventRecord(event_t *event, stream_t *stream) {
  event->at_s = reached_s(stream);
  event->stream = stream;
  event->captured = stream->state != IDLE;
  return 0;
}

int cudaEventSynchronize(const event_t *event) {
  if (event->captured) return forbidden(CAPTURED), fail(CAPTURED);
  sleep_until(event->at_s);
  drain(event->stream);
  return 0;
}

int cudaEventElapsedTime(float *ms, const event_t *begin, const event_t *end) {
  if (begin->captured || end->captured) return fail(CAPTURED);
  *ms = (float)(1e3 * (end->at_s - begin->at_s));
  return 0;
}

int cudaStreamBeginCapture(stream_t *stream, int mode) {
  if (stream == NULL) return fail(UNSUPPORTED);
  if (stream->state != IDLE) return fail(ILLEGAL_STATE);
  if (mode < 0 || mode > 2) return fail(INVALID);
  stream->state = RECORDING;
  return 0;
}

int cudaStreamEndCapture(stream_t *stream, ops_t **graph) {
  int state = stream->state;
  *graph = NULL;
  stream->state = IDLE;
  if (state == IDLE) return fail(ILLEGAL_STATE);
  if (state == BROKEN) {
    forget(&stream->recorded);
    return fail(INVALIDATED);
  }
  *graph = malloc(sizeof **graph);
  **graph = stream->recorded;
  stream->recorded = (ops_t){NULL, NULL};
  live[GRAPHS]++;
  return 0;
}

static int instantiate(ops_t **executable, const ops_t *graph) {
  if (getenv("FAKE_NO_INSTANCE") != NULL) return fail(OUT_OF_MEMORY);
  *executable = calloc(1, sizeof **executable);
  for (op_t *op = graph->first; op != NULL; op = op->next) append(*executable, *op);
  live[EXECUTABLES]++;
  return 0;
}

#if CUDA_VERSION >= 12000
int cudaGraphInstantiate(ops_t **executable, const ops_t *graph, unsigned long long flags) {
  return flags != 0 ? fail(INVALID) : instantiate(executable, graph);
}
#else
int cudaGraphInstantiate(ops_t **executable, const ops_t *graph, void **node, char *log, size_t size) {
  (void)node;
  return (log == NULL) != (size == 0) ? fail(INVALID) : instantiate(executable, graph);
}
#endif

#if CUDA_VERSION >= 11040
int cudaGraphInstantiateWithFlags(ops_t **executable, const ops_t *graph, unsigned long long flags) {
  return flags != 0 ? fail(INVALID) : instantiate(executable, graph);
}
#endif

/* What is launched at once takes less time. */
int cudaGraphLaunch(const ops_t *executable, stream_t *stream) {
  if (stream->state != IDLE) return forbidden(UNSUPPORTED);
  if (getenv("FAKE_NO_LAUNCH") != NULL) return fail(INVALID);
  for (op_t *op = executable->first; op != NULL; op = op->next) {
    op_t copy = *op;
    copy.seconds *= 0.6;
    put(stream, copy);
  }
  return 0;
}

int cudaGraphDestroy(ops_t *graph) {
  forget(graph);
  free(graph);
  live[GRAPHS]--;
  return 0;
}

int cudaGraphExecDestroy(ops_t *executable) {
  forget(executable);
  free(executable);
  live[EXECUTABLES]--;
  return 0;
}

const char *cudaGetErrorString(int status) {
  if (status == INVALIDATED) return "operation failed due to a previous error during capture";
  return status == OUT_OF_MEMORY ? "out of memory" : "some error";
}

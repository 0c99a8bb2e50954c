/* The CUDA runtime of a board that is not there: streams take time, events tell when they would be reached. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { double busy_until_s; } stream_t;
typedef struct { double at_s; } event_t;

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

/* What the GPU does for one call of an engine. */
void fake_enqueue(stream_t *stream, double seconds) { stream->busy_until_s = reached_s(stream) + seconds; }

int cudaFree(void *address) { return (void)address, 0; }

int cudaMalloc(void **address, size_t size) {
  const char *limit = getenv("FAKE_CUDA_LIMIT");
  if (limit != NULL && size > strtoul(limit, NULL, 10)) return 2;
  *address = calloc(1, size);
  return 0;
}

int cudaMemcpy(void *target, const void *source, size_t size, int kind) {
  if (kind != 1 && kind != 2) return 1;
  memcpy(target, source, size);
  return 0;
}

int cudaStreamCreate(stream_t **stream) {
  *stream = calloc(1, sizeof **stream);
  return 0;
}

int cudaEventCreate(event_t **event) {
  *event = calloc(1, sizeof **event);
  return 0;
}

int cudaEventRecord(event_t *event, const stream_t *stream) {
  event->at_s = reached_s(stream);
  return 0;
}

int cudaEventSynchronize(const event_t *event) {
  sleep_until(event->at_s);
  return 0;
}

int cudaEventElapsedTime(float *ms, const event_t *begin, const event_t *end) {
  *ms = (float)(1e3 * (end->at_s - begin->at_s));
  return 0;
}

const char *cudaGetErrorString(int status) { return status == 2 ? "out of memory" : "some error"; }

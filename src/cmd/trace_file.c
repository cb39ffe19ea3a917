#include "cmd/trace_file.h"

#include "base/err.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MAX 1e15 /* microseconds: thirty years, and exact in a double */

/* Cut between characters. */
static void copy_name(char *to, const char *from)
{
    size_t len = strnlen(from, TRACE_NAME_MAX);

    if (len == TRACE_NAME_MAX) {
        len--;
        while (len && ((unsigned char)from[len] & 0xc0) == 0x80)
            len--;
    }
    memcpy(to, from, len);
    to[len] = '\0';
}

static bool is_time(const json_t *value, double least)
{
    double v = json_number_value(value);

    return json_is_number(value) && isfinite(v) && v >= least && v <= TIME_MAX;
}

/* One element of the array: 1 an event, 0 of another kind. */
static int parse_event(struct trace_event *e, const char *file, size_t i, json_t *object)
{
    const char *kind = json_string_value(json_object_get(object, "ph"));
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *at = json_object_get(object, "ts"), *dur = json_object_get(object, "dur");

    if (!kind)
        return err_set(EINVAL, "%s: event %zu: expected an object with a string 'ph'", file, i);
    if (strcmp(kind, "X") != 0)
        return 0;
    if (!name)
        return err_set(EINVAL, "%s: event %zu: expected a string 'name'", file, i);
    if (!is_time(at, -TIME_MAX) || !is_time(dur, 0))
        return err_set(EINVAL, "%s: event %zu: expected 'ts' and 'dur' in microseconds", file, i);
    copy_name(e->name, name);
    e->at = json_number_value(at);
    e->dur = json_number_value(dur);
    return 1;
}

static int parse_list(struct trace_file *trace, const char *file, json_t *list)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list))
        return err_set(EINVAL, "%s: expected an array of trace events", file);
    if (n > TRACE_EVENTS_MAX)
        return err_set(EINVAL, "%s: %zu events, expected at most %d", file, n, TRACE_EVENTS_MAX);
    trace->event = calloc(n ? n : 1, sizeof(trace->event[0]));
    if (!trace->event)
        return err_set(ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        int ret = parse_event(&trace->event[trace->count], file, i, json_array_get(list, i));

        if (ret < 0)
            return ret;
        trace->count += (unsigned)ret;
    }
    return trace->count ? 0 : err_set(EINVAL, "%s: no complete events in it", file);
}

int trace_file_parse(struct trace_file *trace, const char *name, const char *text, size_t len)
{
    json_error_t error;
    json_t *root = json_loadb(text, len, 0, &error);
    int err;

    *trace = (struct trace_file){0};
    if (!root)
        return err_set(EINVAL, "%s:%d: %s", name, error.line, error.text);
    err =
        parse_list(trace, name, json_is_object(root) ? json_object_get(root, "traceEvents") : root);
    json_decref(root);
    if (err)
        trace_file_free(trace);
    return err;
}

int trace_file_load(struct trace_file *trace, const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = malloc(TRACE_FILE_MAX + 1);
    size_t len = 0;
    int err = 0;

    if (!f)
        err = err_sys(errno, "%s: cannot open a trace", path);
    else if (!text)
        err = err_set(ENOMEM, "out of memory");
    if (!err) {
        len = fread(text, 1, TRACE_FILE_MAX + 1, f);
        if (ferror(f))
            err = err_sys(errno, "%s: cannot read", path);
        else if (len > TRACE_FILE_MAX)
            err = err_set(EFBIG, "%s: longer than %u MiB", path, TRACE_FILE_MAX >> 20);
    }
    if (f)
        fclose(f);
    if (!err)
        err = trace_file_parse(trace, path, text, len);
    free(text);
    return err;
}

void trace_file_free(struct trace_file *trace)
{
    free(trace->event);
    *trace = (struct trace_file){0};
}

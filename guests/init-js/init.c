/*
 * A first process in JavaScript: runs /init.js on MuJS (ECMAScript 5). What the
 * script can call is in guests/README.md. When the script ends the machine is
 * switched off; an error in it ends the machine by a reset, so that mote fails.
 */
#include <errno.h>
#include <math.h>
#include <mujs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "../machine/machine.h"

#define SCRIPT "/init.js"

/* Throws "NAME: what errno says". */
static void throw_errno(js_State *js, const char *name)
{
    js_error(js, "%s: %s", name, strerror(errno));
}

static void print(js_State *js)
{
    for (int i = 1; i < js_gettop(js); i++)
        printf("%s%s", i > 1 ? " " : "", js_tostring(js, i));
    putchar('\n');
    fflush(stdout);
    js_pushundefined(js);
}

static void ready(js_State *js)
{
    if (machine_ready() < 0)
        js_error(js, "ready: no /dev/mem");
    js_pushundefined(js);
}

static void power_off(js_State *js)
{
    fflush(stdout);
    machine_power_off();
    js_error(js, "poweroff: the machine goes on");
}

static void mount_type(js_State *js)
{
    const char *type = js_tostring(js, 1), *folder = js_tostring(js, 2);

    if (mkdir(folder, 0755) < 0 && errno != EEXIST)
        throw_errno(js, folder);
    if (mount(type, folder, type, 0, NULL) < 0)
        throw_errno(js, folder);
    js_pushundefined(js);
}

/* All of a file of unknown size, as those of /proc are, with a NUL behind; NULL and errno. */
static char *read_all(const char *name, size_t *size)
{
    FILE *file = fopen(name, "r");
    char *text = NULL, *more;
    size_t room = 0;

    *size = 0;
    if (!file)
        return NULL;
    do {
        room = room ? 2 * room : 4096;
        more = realloc(text, room + 1);
        if (!more)
            break;
        text = more;
        *size += fread(text + *size, 1, room - *size, file);
    } while (*size == room);
    int failed = !more ? ENOMEM : ferror(file) ? errno : 0;
    fclose(file);
    if (failed) {
        free(text);
        errno = failed;
        return NULL;
    }
    text[*size] = '\0';
    return text;
}

static void read_file(js_State *js)
{
    const char *name = js_tostring(js, 1);
    size_t size;
    char *text = read_all(name, &size);

    if (!text)
        throw_errno(js, name);
    if (strlen(text) != size) { /* MuJS's strings end with the first NUL */
        free(text);
        js_error(js, "%s: not text: it has a zero byte", name);
    }
    if (js_try(js)) {
        free(text);
        js_throw(js);
    }
    js_pushstring(js, text);
    js_endtry(js);
    free(text);
}

static void write_file(js_State *js)
{
    const char *name = js_tostring(js, 1), *text = js_tostring(js, 2);
    FILE *file = fopen(name, "w");

    if (!file)
        throw_errno(js, name);
    size_t size = strlen(text);
    int failed = fwrite(text, 1, size, file) < size ? errno : 0;
    if (fclose(file) && !failed)
        failed = errno;
    if (failed) {
        errno = failed;
        throw_errno(js, name);
    }
    js_pushundefined(js);
}

static void sleep_seconds(js_State *js)
{
    double seconds = js_tonumber(js, 1), whole;

    if (!(seconds >= 0 && seconds < 1e9))
        js_rangeerror(js, "sleep: expected seconds");
    double fraction = modf(seconds, &whole);
    struct timespec left = {.tv_sec = (time_t)whole, .tv_nsec = (long)(fraction * 1e9)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    js_pushundefined(js);
}

static const struct {
    const char *name;
    js_CFunction call;
    int parameters;
} functions[] = {
    {"print", print, 0},         {"ready", ready, 0},        {"poweroff", power_off, 0},
    {"mount", mount_type, 2},    {"readFile", read_file, 1}, {"writeFile", write_file, 2},
    {"sleep", sleep_seconds, 1},
};

/* The value that was thrown is on top. An Error of MuJS knows where it was made. */
static void tell_error(js_State *js)
{
    const char *where = "";

    if (js_isobject(js, -1) && js_hasproperty(js, -1, "stackTrace")) {
        where = js_trystring(js, -1, "");
        js_pop(js, 1);
    }
    fflush(stdout);
    fprintf(stderr, "init-js: %s%s\n", js_trystring(js, -1, "an error without a name"), where);
}

/* Runs the script; 0, or 1 after an error that was told. */
static int run_script(void)
{
    js_State *js = js_newstate(NULL, NULL, JS_STRICT);

    if (!js) {
        fputs("init-js: no memory\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++) {
        js_newcfunction(js, functions[i].call, functions[i].name, functions[i].parameters);
        js_setglobal(js, functions[i].name);
    }
    int failed = js_ploadfile(js, SCRIPT);
    if (!failed) {
        js_pushundefined(js);
        failed = js_pcall(js, 0);
    }
    if (failed)
        tell_error(js);
    return failed;
}

int main(void)
{
    if (run_script() == 0)
        machine_power_off();
    machine_reset();
    return 1;
}

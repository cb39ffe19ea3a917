/* mote timeline: from a trace file to a picture. */
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/outfile.h"
#include "cmd/timeline_svg.h"
#include "cmd/trace_file.h"

#include <getopt.h>
#include <stdio.h>

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static const char help[] =
    "Usage: mote timeline TRACE.json [-o OUT.svg]\n"
    "\n"
    "Draws what 'mote run --timings=trace:TRACE.json' wrote, or other complete events in\n"
    "Chrome's trace format, as an SVG picture: the steps before the guest's start, and\n"
    "the whole life.\n"
    "\n"
    "  -o, --output FILE   write there instead of to standard output\n"
    "  -h, --help          this help\n";

static int finish_stdout(void)
{
    if (fflush(stdout) || ferror(stdout))
        return cmd_fail(STATUS_FAILED, "cannot write to standard output");
    return STATUS_OK;
}

static int draw(const struct trace_file *trace, const char *path)
{
    struct outfile out;

    if (!path) {
        timeline_svg(stdout, trace);
        return finish_stdout();
    }
    if (outfile_open(&out, path))
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    timeline_svg(out.stream, trace);
    return outfile_commit(&out) ? cmd_fail(STATUS_FAILED, "%s", err_text()) : STATUS_OK;
}

int cmd_timeline(int argc, char **argv)
{
    struct trace_file trace;
    const char *path = NULL;
    int letter, status;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":ho:", options, NULL)) != -1) {
        if (letter == 'h' || letter == OPT_HELP) {
            fputs(help, stdout);
            return finish_stdout();
        }
        if (letter != 'o')
            return cmd_bad_option(argc, argv, letter);
        path = optarg;
    }
    if (optind == argc)
        return cmd_usage("timeline", "no trace file");
    if (optind + 1 < argc)
        return cmd_usage("timeline", "'%s' is not expected", argv[optind + 1]);
    if (trace_file_load(&trace, argv[optind]))
        return cmd_fail(STATUS_INPUT, "%s", err_text());
    status = draw(&trace, path);
    trace_file_free(&trace);
    return status;
}

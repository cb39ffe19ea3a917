#include "cmd/timeline_svg.h"

#include "base/bits.h"
#include "base/steps.h"

#define WIDTH     960
#define LEFT      24  /* of a panel */
#define LABELS    190 /* the names' and the times' columns */
#define BARS      (WIDTH - LABELS - 2 * LEFT)
#define TITLE     44 /* height of a panel's head */
#define ROW       18
#define GAP       28  /* between panels */
#define BAR_LEAST 1.0 /* what took next to no time is seen all the same */
#define ROWS_MAX  64

struct span {
    double from, to; /* microseconds */
};

/* Events of one name, in the panel's span. */
struct row {
    const char *name;
    double sum;
};

struct panel {
    const char *title;
    struct span span;
    unsigned rows;
    struct row row[ROWS_MAX];
};

/* XML 1.0 has neither control characters nor U+FFFE and U+FFFF. */
static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default:
            if (!strncmp(text, "\xef\xbf\xbe", 3) || !strncmp(text, "\xef\xbf\xbf", 3)) {
                fputc('?', out);
                text += 2;
            } else {
                fputc((unsigned char)*text < ' ' ? '?' : *text, out);
            }
        }
    }
}

static void put_time(FILE *out, double us)
{
    if (us < 1e3)
        fprintf(out, "%.1f \xc2\xb5s", us);
    else if (us < 1e6)
        fprintf(out, "%.2f ms", us / 1e3);
    else
        fprintf(out, "%.2f s", us / 1e6);
}

static bool within(const struct trace_event *e, const struct span *s)
{
    return e->at >= s->from && e->at + e->dur <= s->to;
}

/* The row of a name; the last one takes what finds no room. */
static unsigned row_of(struct panel *p, const char *name)
{
    unsigned i = 0;

    while (i < p->rows && strcmp(p->row[i].name, name) != 0)
        i++;
    if (i == ROWS_MAX)
        return ROWS_MAX - 1;
    if (i == p->rows)
        p->row[p->rows++] = (struct row){name, 0};
    return i;
}

static void fill(struct panel *p, const struct trace_file *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (within(&t->event[i], &p->span))
            p->row[row_of(p, t->event[i].name)].sum += t->event[i].dur;
    }
}

static unsigned height(const struct panel *p)
{
    return TITLE + p->rows * ROW;
}

static void draw_head(FILE *out, const struct panel *p, unsigned y)
{
    fprintf(out, "<text x=\"%d\" y=\"%u\" class=\"title\">%s, ", LEFT, y + 14, p->title);
    put_time(out, p->span.to - p->span.from);
    fputs("</text>\n", out);
    for (unsigned i = 0; i <= 4; i++) {
        double x = LEFT + LABELS + BARS * i / 4.0;

        fprintf(out,
                "<line x1=\"%.1f\" y1=\"%u\" x2=\"%.1f\" y2=\"%u\" class=\"grid\"/>\n"
                "<text x=\"%.1f\" y=\"%u\" class=\"%s\">",
                x, y + TITLE - 6, x, y + height(p), x, y + TITLE - 10, i == 4 ? "time" : "tick");
        put_time(out, (p->span.to - p->span.from) * i / 4);
        fputs("</text>\n", out);
    }
}

static void draw_bar(FILE *out, const struct panel *p, const struct trace_event *e, unsigned y)
{
    double scale = BARS / MAX(p->span.to - p->span.from, 1e-9);
    double x = LEFT + LABELS + (e->at - p->span.from) * scale;
    double width = MAX(e->dur * scale, BAR_LEAST);

    fprintf(out, "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%d\"><title>", x, y + 3, width,
            ROW - 6);
    put_text(out, e->name);
    fputs(": ", out);
    put_time(out, e->dur);
    fputs("</title></rect>\n", out);
}

static void draw(FILE *out, struct panel *p, const struct trace_file *t, unsigned y)
{
    draw_head(out, p, y);
    y += TITLE;
    for (unsigned i = 0; i < p->rows; i++) {
        fprintf(out, "<text x=\"%d\" y=\"%u\">", LEFT, y + i * ROW + 13);
        put_text(out, p->row[i].name);
        fprintf(out, "</text>\n<text x=\"%d\" y=\"%u\" class=\"time\">", LEFT + LABELS - 8,
                y + i * ROW + 13);
        put_time(out, p->row[i].sum);
        fputs("</text>\n", out);
    }
    for (unsigned i = 0; i < t->count; i++) {
        const struct trace_event *e = &t->event[i];

        if (within(e, &p->span))
            draw_bar(out, p, e, y + row_of(p, e->name) * ROW);
    }
}

static struct span whole(const struct trace_file *t)
{
    struct span s = {t->event[0].at, t->event[0].at};

    for (unsigned i = 0; i < t->count; i++) {
        s.from = MIN(s.from, t->event[i].at);
        s.to = MAX(s.to, t->event[i].at + t->event[i].dur);
    }
    return s;
}

/* Up to the guest's first entry. */
static bool set_up(const struct trace_file *t, struct span *s)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (!strcmp(t->event[i].name, step_name[STEP_START])) {
            s->to = t->event[i].at + t->event[i].dur;
            return true;
        }
    }
    return false;
}

void timeline_svg(FILE *out, const struct trace_file *trace)
{
    struct panel panel[2];
    unsigned n = 0, y = GAP, total = GAP;
    struct span span = whole(trace), before = span;

    if (set_up(trace, &before))
        panel[n++] = (struct panel){.title = "Before the guest", .span = before};
    panel[n++] = (struct panel){.title = "Whole life", .span = span};
    for (unsigned i = 0; i < n; i++) {
        fill(&panel[i], trace);
        total += height(&panel[i]) + GAP;
    }
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
            "viewBox=\"0 0 %d %u\">\n"
            "<style>text{font:12px sans-serif;fill:#222}.title{font-weight:bold;font-size:14px}"
            ".time{text-anchor:end;fill:#666}.tick{fill:#666}rect{fill:#3b76b0}"
            ".grid{stroke:#ddd}</style>\n"
            "<path d=\"M0 0H%dV%uH0z\" fill=\"#fff\"/>\n",
            WIDTH, total, WIDTH, total, WIDTH, total);
    for (unsigned i = 0; i < n; i++) {
        draw(out, &panel[i], trace, y);
        y += height(&panel[i]) + GAP;
    }
    fputs("</svg>\n", out);
}

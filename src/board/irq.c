#include "board/irq.h"

static void forward(const struct dev_irq *to, unsigned line, int level)
{
    if (to->set)
        to->set(to->user, line, level);
}

void irq_set(void *user, unsigned gsi, int level)
{
    struct irq_router *router = user;

    if (gsi == 2 || gsi >= IRQ_GSI_COUNT)
        return;
    if (gsi < 16)
        forward(&router->pic, gsi, level);
    forward(&router->ioapic, gsi == 0 ? 2 : gsi, level);
    forward(&router->inside, gsi, level);
}

struct dev_irq irq_line(struct irq_router *router, unsigned gsi)
{
    return (struct dev_irq){irq_set, router, gsi};
}

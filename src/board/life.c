#include "board/life.h"

#include "base/steps.h"

#include <stdio.h>
#include <string.h>

void life_init(struct life *life, struct loop *loop)
{
    memset(life, 0, sizeof(*life));
    life->loop = loop;
    pthread_mutex_init(&life->lock, NULL);
    atomic_init(&life->end, LIFE_RUNNING);
}

void life_destroy(struct life *life)
{
    pthread_mutex_destroy(&life->lock);
}

void life_finish(struct life *life, enum life_end end, unsigned detail, const char *why)
{
    pthread_mutex_lock(&life->lock);
    if (life_running(life)) {
        life->detail = detail;
        snprintf(life->why, sizeof(life->why), "%s", why ? why : "");
        step_end(STEP_EXIT);
        atomic_store(&life->end, end);
    }
    pthread_mutex_unlock(&life->lock);
    loop_stop(life->loop);
}

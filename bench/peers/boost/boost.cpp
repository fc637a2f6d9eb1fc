// SPDX-License-Identifier: MIT
// Boost.Fiber and, for the figure `switch`, Boost.Context's fcontext.
//
// Set as the tuning chapter of the documentation advises: the round_robin scheduler on one thread,
// pooled stacks of a fixed size, new fibers entered at once (launch::dispatch). The library is the
// distribution's; BOOST_FIBERS_NO_ATOMICS would need another build of it.
#include "../../measure.h"

#include <boost/context/detail/fcontext.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <boost/fiber/all.hpp>

#include <cstdlib>
#include <memory>

namespace context = boost::context::detail;
namespace fibers = boost::fibers;

using channel = fibers::buffered_channel<std::int64_t>;

static const std::size_t stack_bytes = 64 * 1024;
static const std::size_t channel_cells = 2048; // a power of two; holds one less
static const std::size_t channel_cells_few = 4;

static fibers::pooled_fixedsize_stack stacks(stack_bytes);
static std::uint64_t ended;
static std::int64_t sum;
static context::fcontext_t other;
static channel *ours, *theirs;

template <typename Function> static fibers::fiber start(Function function) {
    return fibers::fiber(fibers::launch::dispatch, std::allocator_arg, stacks, function);
}

// ---- switch ----

static void switch_back(context::transfer_t from) {
    for (;;)
        from = context::jump_fcontext(from.fctx, nullptr);
}

static void switch_prepare() {
    boost::context::stack_context stack = boost::context::fixedsize_stack(stack_bytes).allocate();
    other = context::make_fcontext(stack.sp, stack.size, switch_back);
}

static std::uint64_t switch_work(std::uint64_t n) {
    std::uint64_t done;
    for (done = 0; done < n; done += 2)
        other = context::jump_fcontext(other, nullptr).fctx;
    return done;
}

// ---- yield ----

static void ring_prepare(std::size_t n) {
    for (std::size_t i = 1; i < n; i++)
        start([] {
            for (;;)
                boost::this_fiber::yield();
        }).detach();
}

static void yield_2_prepare() { ring_prepare(2); }

static void yield_10k_prepare() { ring_prepare(MEASURE_MANY); }

template <int ring> static std::uint64_t yield_work(std::uint64_t n) {
    std::uint64_t done;
    for (done = 0; done < n; done += ring)
        boost::this_fiber::yield();
    return done;
}

// ---- spawn ----

static std::uint64_t spawn_work(std::uint64_t n) {
    std::uint64_t before = ended;
    for (std::uint64_t i = 0; i < n; i++)
        start([] { ended++; }).join();
    return ended - before;
}

// ---- messages ----

static void channels_prepare() {
    ours = new channel(channel_cells);
    theirs = new channel(channel_cells);
}

static void roundtrip_prepare() {
    channels_prepare();
    start([] {
        std::int64_t number;
        for (;;) {
            theirs->pop(number);
            ours->push(number + 1);
        }
    }).detach();
}

static std::uint64_t roundtrip_work(std::uint64_t n) {
    std::int64_t number = 0;
    for (std::uint64_t i = 0; i < n; i++) {
        theirs->push(number);
        ours->pop(number);
    }
    return (std::uint64_t)number;
}

static void oneway_prepare() {
    channels_prepare();
    start([] {
        std::int64_t number;
        for (;;) {
            for (int i = 0; i < MEASURE_BATCH; i++) {
                theirs->pop(number);
                sum += number;
            }
            ours->push(0);
        }
    }).detach();
}

static std::uint64_t oneway_work(std::uint64_t n) {
    std::uint64_t done;
    std::int64_t taken;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            theirs->push(i);
        ours->pop(taken); // the batch has been taken
    }
    return done;
}

// ---- broadcast ----

static channel *listeners[MEASURE_LISTENERS];
static std::uint64_t heard;

static void broadcast_prepare() {
    channels_prepare();
    for (channel *&listener : listeners) {
        listener = new channel(channel_cells_few);
        start([listener] {
            std::int64_t number;
            for (;;) {
                listener->pop(number);
                sum += number;
                if (++heard % MEASURE_LISTENERS == 0)
                    ours->push(0); // all have it: ends the wait of the measuring fiber
            }
        }).detach();
    }
}

static std::uint64_t broadcast_work(std::uint64_t n) {
    std::uint64_t done;
    std::int64_t taken;
    for (done = 0; done < n; done += MEASURE_LISTENERS) {
        for (channel *listener : listeners)
            listener->push(1);
        ours->pop(taken);
    }
    return done;
}

// ---- ring: the token is the number of hops left ----

static channel *places[MEASURE_RING];

static void token_prepare() {
    channels_prepare();
    for (channel *&place : places)
        place = new channel(channel_cells_few);
    for (int i = 0; i < MEASURE_RING; i++) {
        channel *mine = places[i], *next = places[(i + 1) % MEASURE_RING];
        start([mine, next] {
            std::int64_t left;
            for (;;) {
                mine->pop(left);
                (left > 0 ? next : ours)->push(left - 1);
            }
        }).detach();
    }
}

static std::uint64_t token_work(std::uint64_t n) {
    std::int64_t taken;
    places[0]->push((std::int64_t)n);
    ours->pop(taken);
    return n;
}

int main(int argc, char **argv) {
    static const measure_figure figures[] = {
        {"switch", switch_prepare, switch_work},
        {"yield-2", yield_2_prepare, yield_work<2>},
        {"yield-10k", yield_10k_prepare, yield_work<MEASURE_MANY>},
        {"spawn", nullptr, spawn_work},
        {"roundtrip", roundtrip_prepare, roundtrip_work},
        {"oneway", oneway_prepare, oneway_work},
        {"broadcast-1000", broadcast_prepare, broadcast_work},
        {"ring-503", token_prepare, token_work},
        {nullptr, nullptr, nullptr},
    };
    int status = measure_main(argc, argv, figures);
    std::_Exit(status); // fibers that never end would be waited for
}

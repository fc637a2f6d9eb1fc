%% SPDX-License-Identifier: MIT
%%
%% The same procedure as measure.h, for all programs in Erlang: nanoseconds for an operation of a
%% work function, which does N operations or a few more and returns how many.

-define(WARM_NS, 60000000).
-define(RUN_NS, 300000000).

time(Work) -> warm(Work, 1000).

warm(Work, N) ->
    case timed(Work, N) of
        {Done, Took} when Took >= ?WARM_NS ->
            {Done2, Took2} = timed(Work, Done * ?RUN_NS div Took + 1),
            Took2 / Done2;
        _ -> warm(Work, N * 2)
    end.

timed(Work, N) ->
    Start = erlang:monotonic_time(nanosecond),
    Done = Work(N),
    {Done, erlang:monotonic_time(nanosecond) - Start}.

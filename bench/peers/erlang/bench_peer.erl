%% SPDX-License-Identifier: MIT
%%
%% Erlang: processes on one scheduler (erl +S 1:1, set by bench/run), compiled by the just-in-time
%% compiler of the runtime. The measuring process is a fresh one, as small as the others. yield/0 is
%% not meant to be used often, its manual says; it is what comes nearest.
%%
%% Each work function does N operations or a few more and returns how many.
-module(bench_peer).
-export([main/1]).

-define(BATCH, 1000).
-define(MANY, 10000).
-define(WARM_NS, 60000000).
-define(RUN_NS, 300000000).

main([Figure]) ->
    Main = self(),
    spawn(fun() -> Main ! {value, measure(figure(Figure))} end),
    receive {value, Value} -> io:format("~.3f~n", [Value]) end,
    halt(0).

figure('yield-2') -> ring(2), fun(N) -> yields(N, 2) end;
figure('yield-10k') -> ring(?MANY), fun(N) -> yields(N, ?MANY) end;
figure(spawn) -> fun(N) -> spawns(N), N end;
figure(roundtrip) ->
    Self = self(),
    Echo = spawn(fun() -> echo(Self) end),
    fun(N) -> roundtrips(Echo, N, 0) end;
figure(oneway) ->
    Self = self(),
    Drain = spawn(fun() -> drain(Self, ?BATCH) end),
    fun(N) -> oneways(Drain, N, 0) end.

ring(N) ->
    [spawn(fun pass_on/0) || _ <- lists:seq(2, N)].

pass_on() ->
    erlang:yield(),
    pass_on().

yields(N, Ring) ->
    Rounds = (N + Ring - 1) div Ring,
    rounds(Rounds),
    Rounds * Ring.

rounds(0) -> ok;
rounds(N) ->
    erlang:yield(),
    rounds(N - 1).

%% A new process runs and ends while its parent yields; that is quicker than waiting for a message
%% from it.
spawns(0) -> ok;
spawns(N) ->
    spawn(fun nothing/0),
    erlang:yield(),
    spawns(N - 1).

nothing() -> ok.

echo(To) ->
    receive Number -> To ! Number + 1 end,
    echo(To).

roundtrips(_, N, N) -> N;
roundtrips(Echo, N, Number) ->
    Echo ! Number,
    receive Next -> roundtrips(Echo, N, Next) end.

drain(To, 0) ->
    To ! taken,
    drain(To, ?BATCH);
drain(To, N) ->
    receive _ -> drain(To, N - 1) end.

oneways(Drain, N, Done) when Done < N ->
    burst(Drain, ?BATCH),
    receive taken -> oneways(Drain, N, Done + ?BATCH) end;
oneways(_, _, Done) -> Done.

burst(_, 0) -> ok;
burst(To, N) ->
    To ! N,
    burst(To, N - 1).

%% The same procedure as measure.h.
measure(Work) -> warm(Work, 1000).

warm(Work, N) ->
    {Done, Took} = timed(Work, N),
    case Took >= ?WARM_NS of
        true ->
            {D, T} = timed(Work, Done * ?RUN_NS div Took + 1),
            T / D;
        false -> warm(Work, N * 2)
    end.

timed(Work, N) ->
    Start = erlang:monotonic_time(nanosecond),
    Done = Work(N),
    {Done, erlang:monotonic_time(nanosecond) - Start}.

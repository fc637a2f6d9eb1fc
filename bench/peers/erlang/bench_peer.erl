%% SPDX-License-Identifier: MIT
%%
%% Erlang: processes on one scheduler (erl +S 1:1, set by bench/run; for the figures of two cores
%% 2:2), compiled by the just-in-time compiler of the runtime. The measuring process is a fresh one,
%% as small as the others. yield/0 is not meant to be used often, its manual says; it is what comes
%% nearest.
%%
%% {value, Value} instead of a work function is a figure that measures by itself.
-module(bench_peer).
-export([main/1]).

-define(BATCH, 1000).
-define(MANY, 10000).
-define(LISTENERS, 1000).
-define(RING, 503).
-define(CROWD, 1000000).
-define(CHILDREN, 10).

-include("measure.hrl").

main([Figure]) ->
    Main = self(),
    spawn_opt(fun() -> Main ! {value, value(figure(Figure))} end, [{scheduler, 1}]),
    receive {value, Value} -> io:format("~.3f~n", [Value * 1.0]) end,
    halt(0).

value({value, Value}) -> Value;
value(Work) -> time(Work).

figure('yield-2') -> ring(2), fun(N) -> yields(N, 2) end;
figure('yield-10k') -> ring(?MANY), fun(N) -> yields(N, ?MANY) end;
figure(spawn) -> fun(N) -> spawns(N), N end;
figure(roundtrip) -> roundtrip(0);
figure(oneway) -> oneway(0);
figure('cross-roundtrip') -> roundtrip(2);
figure('cross-oneway') -> oneway(2);
figure('broadcast-1000') ->
    Heard = counters:new(1, []),
    Listeners = [spawn(fun() -> listen(Heard) end) || _ <- lists:seq(1, ?LISTENERS)],
    fun(N) -> broadcasts(Listeners, Heard, N, 0) end;
figure('ring-503') ->
    Self = self(),
    Last = spawn(fun() -> receive {next, Next} -> hand_on(Next, Self) end end),
    First = lists:foldl(fun(_, Next) -> spawn(fun() -> hand_on(Next, Self) end) end,
                        Last, lists:seq(2, ?RING)),
    Last ! {next, First},
    fun(N) -> First ! N, receive token -> N end end;
figure('skynet-1m') -> {value, skynet_ms()};
figure('skynet-1m-mb') ->
    skynet_ms(),
    {value, status_bytes("VmHWM") / 1.0e6};
figure('idle-bytes') ->
    Before = memory_bytes(),
    idle_start(),
    {value, (memory_bytes() - Before) / ?CROWD};
figure('idle-cost') ->
    Work = roundtrip(0),
    Alone = time(Work),
    idle_start(),
    {value, time(Work) / Alone};
figure('timers-1m-cpu') -> {value, timers_cpu_ms()};
figure('timers-1m-cpu-small') -> {value, timers_cpu_ms()}.

%% The partner runs on that scheduler, and stays there; on any if 0.
roundtrip(Scheduler) ->
    Self = self(),
    Echo = spawn_opt(fun() -> echo(Self) end, [{scheduler, Scheduler}]),
    fun(N) -> roundtrips(Echo, N, 0) end.

oneway(Scheduler) ->
    Self = self(),
    Drain = spawn_opt(fun() -> drain(Self, ?BATCH) end, [{scheduler, Scheduler}]),
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

listen(Heard) ->
    receive _ -> counters:add(Heard, 1, 1) end,
    listen(Heard).

broadcasts(Listeners, Heard, N, Done) when Done < N ->
    Want = counters:get(Heard, 1) + ?LISTENERS,
    [Listener ! 1 || Listener <- Listeners],
    yield_until(Heard, Want),
    broadcasts(Listeners, Heard, N, Done + ?LISTENERS);
broadcasts(_, _, _, Done) -> Done.

yield_until(Counter, Want) ->
    case counters:get(Counter, 1) of
        Want -> ok;
        _ -> erlang:yield(), yield_until(Counter, Want)
    end.

%% The token is the number of hops left.
hand_on(Next, Measurer) ->
    receive
        0 -> Measurer ! token;
        Left -> Next ! Left - 1
    end,
    hand_on(Next, Measurer).

%% ---- a million processes ----

skynet(Parent, First, 1) -> Parent ! First;
skynet(Parent, First, Size) ->
    Self = self(),
    Part = Size div ?CHILDREN,
    [spawn(fun() -> skynet(Self, First + I * Part, Part) end) || I <- lists:seq(0, ?CHILDREN - 1)],
    Parent ! sum(?CHILDREN, 0).

sum(0, Sum) -> Sum;
sum(Missing, Sum) ->
    receive Number -> sum(Missing - 1, Sum + Number) end.

skynet_ms() ->
    Self = self(),
    Start = erlang:monotonic_time(nanosecond),
    spawn(fun() -> skynet(Self, 0, ?CROWD) end),
    receive Sum -> Sum = ?CROWD * (?CROWD - 1) div 2 end,
    (erlang:monotonic_time(nanosecond) - Start) / 1.0e6.

idle_start() ->
    Idle = counters:new(1, []),
    repeat(?CROWD, fun() -> spawn(fun() -> counters:add(Idle, 1, 1), receive never -> ok end end) end),
    yield_until(Idle, ?CROWD).

repeat(0, _) -> ok;
repeat(N, Do) ->
    Do(),
    repeat(N - 1, Do).

%% A process sleeps for whole milliseconds.
timers_cpu_ms() ->
    Before = cpu_ms(),
    rand:seed(exsss, 1),
    Ended = counters:new(1, []),
    Self = self(),
    repeat(?CROWD, fun() ->
        Delay = rand:uniform(1000) - 1,
        spawn(fun() -> sleep_once(Delay, Ended, Self) end)
    end),
    receive ended -> cpu_ms() - Before end.

sleep_once(Delay, Ended, Measurer) ->
    receive after Delay -> counters:add(Ended, 1, 1) end,
    case counters:get(Ended, 1) of
        ?CROWD -> Measurer ! ended;
        _ -> ok
    end.

%% User and system time; the runtime's own statistics know the first alone. In ticks of 10 ms.
cpu_ms() ->
    [_, Behind] = string:split(read("/proc/self/stat"), ") "),
    Fields = string:lexemes(Behind, " "),
    10 * (list_to_integer(lists:nth(12, Fields)) + list_to_integer(lists:nth(13, Fields))).

memory_bytes() -> status_bytes("VmRSS") + status_bytes("VmPTE").

status_bytes(Field) ->
    [Kib] = [Kib || Line <- string:lexemes(read("/proc/self/status"), "\n"),
                    [Name, Kib, "kB"] <- [string:lexemes(Line, " \t")], Name =:= Field ++ ":"],
    list_to_integer(Kib) * 1024.

%% Such files do not say how long they are.
read(Path) ->
    {ok, File} = file:open(Path, [read, raw]),
    {ok, Text} = file:read(File, 65536),
    file:close(File),
    Text.

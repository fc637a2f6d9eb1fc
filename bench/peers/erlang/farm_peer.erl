%% SPDX-License-Identifier: MIT
%%
%% Erlang: jobs as messages, between nodes of one scheduler each: a client, a master who hands them
%% to two workers, one node for each. Started by `farm` beside this file. The master alone listens,
%% so that no epmd is needed: the others connect to it, and talk through it as jobs do anyway.
-module(farm_peer).
-export([master/0, work/1, measure/1, add_one/1]).

-define(AHEAD, 10000).
-define(LATENCIES, 2000).

-include("measure.hrl").

%% ---- the master ----

master() ->
    register(master, spawn(fun() -> master([], []) end)),
    io:format("ready~n").

%% The next worker is the first of the ready ones; when all have had something they come again.
master(Ready, Given) ->
    receive
        {job, _, _} = Job when Ready =/= [] ->
            [Worker | Rest] = Ready,
            Worker ! Job,
            master(Rest, [Worker | Given]);
        {job, _, _} = Job when Given =/= [] ->
            [Worker | Rest] = Given,
            Worker ! Job,
            master(Rest, [Worker]);
        {result, To, Result} ->
            To ! {result, Result},
            master(Ready, Given);
        {worker, Pid} ->
            master([Pid | Ready], Given);
        {count, To} ->
            To ! {count, length(Ready) + length(Given)},
            master(Ready, Given)
    end.

%% ---- a worker ----

work([Master]) ->
    pong = net_adm:ping(Master),
    spawn(fun() -> {master, Master} ! {worker, self()}, run({master, Master}) end).

run(Master) ->
    receive {job, To, X} -> Master ! {result, To, add_one(X)} end,
    run(Master).

add_one(X) -> X + 1.

%% ---- the client ----

measure([Node, Figure]) ->
    Self = self(),
    Figure =:= 'first-result' orelse await_workers(Node),
    spawn(fun() -> Self ! {value, value(Figure, Node)} end),
    receive {value, Value} -> io:format("~.3f~n", [Value * 1.0]) end,
    halt(0).

await_workers(Node) ->
    pong = net_adm:ping(Node),
    {master, Node} ! {count, self()},
    receive
        {count, 2} -> ok;
        {count, _} -> timer:sleep(10), await_workers(Node)
    end.

value('jobs-single', Node) -> 1.0e9 / time(fun(N) -> jobs({master, Node}, N, 0, N) end);
value('job-latency', Node) ->
    median(fun(X) ->
        {master, Node} ! {job, self(), X},
        receive {result, Y} when Y == X + 1 -> ok end
    end);
value('job-latency-run-at', Node) ->
    median(fun(X) -> true = rpc:call(Node, farm_peer, add_one, [X]) == X + 1 end);
%% A new node, which is sent the module.
value('first-result', _) ->
    {_, Code, File} = code:get_object_code(farm_peer),
    Start = erlang:monotonic_time(nanosecond),
    {ok, Peer, _} = peer:start(#{connection => standard_io}),
    {module, _} = peer:call(Peer, code, load_binary, [farm_peer, File, Code]),
    2 = peer:call(Peer, farm_peer, add_one, [1]),
    Took = erlang:monotonic_time(nanosecond) - Start,
    peer:stop(Peer),
    Took / 1.0e6.

%% N jobs, Ahead of them under way at the most.
jobs(_, 0, 0, N) -> N;
jobs(To, Left, Away, N) when Left > 0, Away < ?AHEAD ->
    To ! {job, self(), Left},
    jobs(To, Left - 1, Away + 1, N);
jobs(To, Left, Away, N) ->
    receive {result, _} -> jobs(To, Left, Away - 1, N) end.

median(Work) ->
    [Work(X) || X <- lists:seq(1, 200)],
    Us = [time_us(Work, X) || X <- lists:seq(1, ?LATENCIES)],
    lists:nth(?LATENCIES div 2, lists:sort(Us)).

time_us(Work, X) ->
    Start = erlang:monotonic_time(nanosecond),
    Work(X),
    (erlang:monotonic_time(nanosecond) - Start) / 1000.

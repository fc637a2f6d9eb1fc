%% SPDX-License-Identifier: MIT
%%
%% Erlang: two nodes of one scheduler each, processes on them as in the figures; started by `far`
%% beside this file. The client is given the name of the server's node.
-module(far_peer).
-export([serve/0, measure/1, hold/0, pause/0]).

-define(CALLERS, 1000).

-include("measure.hrl").

%% ---- the server ----

serve() ->
    register(echo, spawn(fun echo/0)),
    register(drain, spawn(fun drain/0)),
    io:format("ready~n").

echo() ->
    receive {From, Tag, Body} -> From ! {Tag, Body}; {From, Body} -> From ! Body end,
    echo().

drain() ->
    receive {From, N} -> take(N), From ! done end,
    drain().

take(0) -> ok;
take(N) -> receive _ -> take(N - 1) end.

hold() -> receive never -> ok end.
pause() -> ok.

%% ---- the client ----

measure([Node, Figure]) ->
    pong = net_adm:ping(Node),
    Self = self(),
    spawn(fun() -> Self ! {value, value(Figure, Node)} end),
    receive {value, Value} -> io:format("~.3f~n", [Value * 1.0]) end,
    halt(0).

value('far-roundtrip', Node) ->
    Body = <<0:512>>,
    time(fun(N) -> turns({echo, Node}, Body, N), N end) / 1000;
value('far-oneway-64', Node) -> 1.0e9 / time(oneway({drain, Node}, <<0:512>>));
value('far-oneway-64k', Node) ->
    65536 / time(oneway({drain, Node}, <<0:524288>>)) * 1.0e9 / 1048576;
value('far-calls-1000', Node) -> 1.0e9 / time(fun(N) -> calls({echo, Node}, N) end);
value('locate-cached', Node) ->
    %% A node that does not listen is hidden, and shares no global names; one's own table has them.
    yes = global:register_name(echo, rpc:call(Node, erlang, whereis, [echo])),
    time(fun(N) -> whereis_all(N), N end);
value('remote-call', Node) -> time(fun(N) -> spawns(Node, N), N end) / 1000;
value('exit-notice', Node) ->
    Pid = spawn(Node, far_peer, hold, []),
    monitor(process, Pid),
    Os = rpc:call(Node, os, getpid, []),
    Start = erlang:monotonic_time(nanosecond),
    os:cmd("kill -9 " ++ Os),
    receive {'DOWN', _, process, Pid, _} -> ok end,
    (erlang:monotonic_time(nanosecond) - Start) / 1.0e6.

turns(_, _, 0) -> ok;
turns(To, Body, N) ->
    To ! {self(), Body},
    receive Body -> turns(To, Body, N - 1) end.

oneway(To, Body) ->
    fun(N) ->
        To ! {self(), N},
        send(To, Body, N),
        receive done -> N end
    end.

send(_, _, 0) -> ok;
send(To, Body, N) -> To ! Body, send(To, Body, N - 1).

calls(To, N) ->
    Self = self(),
    Each = N div ?CALLERS + 1,
    [spawn(fun() -> ask(To, Each), Self ! done end) || _ <- lists:seq(1, ?CALLERS)],
    [receive done -> ok end || _ <- lists:seq(1, ?CALLERS)],
    Each * ?CALLERS.

ask(_, 0) -> ok;
ask(To, N) ->
    Tag = make_ref(),
    To ! {self(), Tag, <<0:512>>},
    receive {Tag, _} -> ask(To, N - 1) end.

whereis_all(0) -> ok;
whereis_all(N) -> true = is_pid(global:whereis_name(echo)), whereis_all(N - 1).

spawns(_, 0) -> ok;
spawns(Node, N) ->
    _ = spawn(Node, far_peer, pause, []),
    spawns(Node, N - 1).

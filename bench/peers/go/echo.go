// SPDX-License-Identifier: MIT

// A server of package net, with a goroutine for each connection. Connections do not delay
// (TCP_NODELAY) if nothing is said.
package main

import (
	"fmt"
	"log"
	"net"
)

const echoBytes = 1024

func serve(connection net.Conn) {
	defer connection.Close()
	bytes := make([]byte, echoBytes)
	for {
		got, err := connection.Read(bytes)
		if err != nil {
			return
		}
		if _, err = connection.Write(bytes[:got]); err != nil {
			return
		}
	}
}

func echoServe() float64 {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(connection)
	}
}

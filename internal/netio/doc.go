// Package netio holds what the shells need from a connection and package net does not say: further streams and
// datagrams of one connection, reads that hold no buffer while they wait, and writes that never wait.
//
// The calls of one operating system live here, each with a portable fallback.
package netio

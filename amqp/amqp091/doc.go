// Package amqp091 is the pure root of Quartet's support for AMQP 0-9-1 with RabbitMQ's extensions: frames, methods,
// field tables, content headers, and the state machines of connections and channels. It performs no I/O, starts no
// goroutine, takes no lock and reads no clock.
//
// # Codec
//
// [NextFrame] takes a frame from a byte slice, [AppendFrame] appends one. [DecodeMethod] and [AppendMethod] are for any
// of the methods, which are plain structs. For the methods of a message flow there are views, such as [PublishView],
// and functions, such as [AppendDeliver], that allocate nothing. A content header is a class, a size and
// [RawProperties], which stay as they are on the wire and have accessors; [Properties] is the decoded form. In the same
// way [RawTable] is a field table on the wire and [Table] a decoded one.
//
// Where the text of the standard and RabbitMQ differ, RabbitMQ counts: types of fields are those of RabbitMQ.
// The definitions of the methods are in definitions.txt, from which the files class_*.go are generated.
//
// The codec is strict: short input, bytes after the last argument, properties that this version lacks and fields of
// unknown types are errors, all of them FRAME_ERROR. So are short strings among the arguments of a method that are not
// UTF-8. Bits without a meaning in an octet of bits are ignored. Strings in properties and tables may be any bytes.
//
// # Machines
//
// [Conn] is the machine of a connection in the role of a client or of a server, [Channel] that of each of its channels. A
// shell feeds a Conn the bytes that it reads, calls its verbs and takes its events. The machines do the handshake and
// negotiate the limits, check the order of frames and methods and close with RabbitMQ's codes, put contents together, count
// heartbeats, credit and delivery tags, number what is published and gather its confirms. A shell does the input and
// output, keeps the time and owns the messages.
package amqp091

//go:generate go run ../../internal/gen/amqp091gen

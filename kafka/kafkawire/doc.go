// Package kafkawire has the messages of the Kafka protocol, as Kafka 4.4 defines them for clients and brokers: requests,
// responses, their headers, and the data that Kafka embeds in records and in group metadata.
//
// Each message is a struct with Append and Decode, which take the version as an argument. The structs and their codec
// are generated from the short texts in directory schema, one file per API key; names are those of Kafka's documentation.
//
// # Encoding
//
// Append writes what the version has. A field that the version lacks is left out when it has its default or when Kafka
// says that it may be ignored; otherwise Append fails and names the field. Defaults that are not zero values are in the
// comments of the fields, and Reset sets them: begin with Reset, or set such fields by hand.
//
// # Null
//
// A string that can be null is a pointer; new("text") makes one. An array or byte slice that can be null is null when it
// is nil. A structure that can be null, or that is left out unless there is something to say, is a pointer.
// Null where the version has no null is an error, in both directions.
//
// # Decoding
//
// Decode sets every field. Byte slices are parts of the input and live as long as it does. Strings are copies that share
// memory, often a copy of the whole input, and so do the elements of nested arrays: a message with many partitions takes
// few allocations, and keeping one string or element keeps all of them.
//
// Decoding is strict: input that is too short, counts that the input cannot hold, bytes after the end, null where there
// is none and tags out of order are errors of type [*Error]. Nothing is allocated for more elements than the rest of the
// input can hold. Still an element can take many times the memory of its bytes, so servers use DecodeLimited of a [Request].
// Tagged fields that the schema does not know are kept in UnknownTags and written again.
//
// # Hot paths
//
// [ProduceView] and [FetchView] read requests in place and allocate nothing. [FetchWriter] writes a response around
// record batches that stay where they are.
//
// Messages are plain values: they may be shared for reading, and must not be changed at the same time.
package kafkawire

//go:generate go run ../../internal/gen/kafkagen

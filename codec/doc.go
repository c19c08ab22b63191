// Package codec has what the wire codecs of every protocol share: a byte cursor
// with a sticky error ([Reader]), variable-length integers, a buffer that
// collects frames from a stream ([Buffer]) and CRC-32C.
//
// Nothing here allocates by a length that a peer claims. A Reader hands out
// parts of its input, [Reader.Count] refuses element counts that the rest of
// the input cannot hold, and a Buffer grows only with bytes that have arrived.
package codec

package codec

import "hash/crc32"

// CRC32C returns the CRC-32C (Castagnoli) checksum of b.
func CRC32C(b []byte) uint32 { return UpdateCRC32C(0, b) }

// UpdateCRC32C returns the checksum of the bytes that gave crc followed by b.
func UpdateCRC32C(crc uint32, b []byte) uint32 {
	return crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), b)
}

// CombineCRC32C returns the checksum of bytes with the checksum first followed by n bytes with the checksum second. It
// takes a few microseconds at most.
func CombineCRC32C(first, second uint32, n int) uint32 {
	// The checksum is a remainder of polynomials over two elements, and bytes that follow multiply by x^8 each: first is
	// multiplied by x^8 to the power of n. Bits are in the order of the checksum, x^0 is the highest.
	power, square := uint32(1)<<31, uint32(1)<<23
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = mulCRC32C(square, power)
		}
		square = mulCRC32C(square, square)
	}
	return mulCRC32C(power, first) ^ second
}

// mulCRC32C multiplies two polynomials modulo that of the checksum.
func mulCRC32C(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return product
}

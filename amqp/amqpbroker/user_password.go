package amqpbroker

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
)

// HashingAlgorithm names how a password is hashed, in RabbitMQ's words.
type HashingAlgorithm string

// The algorithms. The hash is of a salt of four bytes and the password.
const (
	HashingSHA256 HashingAlgorithm = "rabbit_password_hashing_sha256"
	HashingSHA512 HashingAlgorithm = "rabbit_password_hashing_sha512"
	HashingMD5    HashingAlgorithm = "rabbit_password_hashing_md5" // of old files of definitions
)

// passwordHash is a hashed password.
type passwordHash struct {
	algorithm HashingAlgorithm
	salt, sum []byte
}

// saltSize is RabbitMQ's.
const saltSize = 4

// HashPassword returns the hash of a password with a random salt, for [User].PasswordHash: salt and hash in base64. It is
// what RabbitMQ makes, so the users can move between the two, and therefore cheap to try many passwords on for somebody who
// has stolen the hashes: passwords should be long and random.
//
// The algorithm is [HashingSHA256].
func HashPassword(password string) string { return hashWith(HashingSHA256, password) }

func hashWith(a HashingAlgorithm, password string) string {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return base64.StdEncoding.EncodeToString(append(salt, hashSum(a, salt, password)...))
}

func hashSum(a HashingAlgorithm, salt []byte, password string) []byte {
	text := append(salt[:len(salt):len(salt)], password...)
	switch a {
	case HashingSHA512:
		sum := sha512.Sum512(text)
		return sum[:]
	case HashingMD5:
		sum := md5.Sum(text)
		return sum[:]
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

// matches compares in constant time. A hash that is empty matches nothing.
func (h passwordHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(hashSum(h.algorithm, h.salt, password), h.sum) == 1
}

func parseHash(text string, a HashingAlgorithm) (passwordHash, error) {
	h := passwordHash{algorithm: a}
	var size int
	switch a {
	case HashingSHA256:
		size = sha256.Size
	case HashingSHA512:
		size = sha512.Size
	case HashingMD5:
		size = md5.Size
	default:
		return h, fmt.Errorf("unknown hashing algorithm %s", a)
	}
	if text == "" {
		return h, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return h, fmt.Errorf("password hash: %w", err)
	}
	if len(b) != saltSize+size {
		return h, fmt.Errorf("password hash has %d bytes, not %d as with %s", len(b), saltSize+size, a)
	}
	h.salt, h.sum = b[:saltSize], b[saltSize:]
	return h, nil
}

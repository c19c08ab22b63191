//go:build !unix

package kafkabroker

import "time"

// cpu does not know what the process has used.
func cpu() time.Duration { return 0 }

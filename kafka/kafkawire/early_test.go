package kafkawire_test

import (
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestEarlyData holds each key against its class: what is safe says in its name that it only asks.
func TestEarlyData(t *testing.T) {
	count := map[kafkawire.Early]int{}
	for k := range kafkawire.APIKey(kafkawire.Keys) {
		class := kafkawire.EarlyData(k)
		count[class]++
		name := k.String()
		asks := strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe") || strings.HasPrefix(name, "Find") ||
			strings.HasSuffix(name, "Describe") || name == "Fetch" || name == "OffsetFetch" || name == "Metadata" ||
			name == "APIVersions" || name == "OffsetForLeaderEpoch"
		secret := name == "DescribeDelegationToken" // its answer is worth a password
		want := kafkawire.EarlyNever
		switch {
		case name == "Produce":
			want = kafkawire.EarlyOptIn
		case asks && !secret:
			want = kafkawire.EarlySafe
		}
		if class != want {
			t.Errorf("%s: %v, want %v", name, class, want)
		}
	}
	for _, k := range []kafkawire.APIKey{
		kafkawire.KeySASLHandshake, kafkawire.KeySASLAuthenticate, kafkawire.KeyOffsetCommit, kafkawire.KeyTxnOffsetCommit,
		kafkawire.KeyEndTxn, kafkawire.KeyInitProducerID, kafkawire.KeyJoinGroup, kafkawire.KeyHeartbeat, kafkawire.KeyShareFetch, -1, 1000,
	} {
		if got := kafkawire.EarlyData(k); got != kafkawire.EarlyNever {
			t.Errorf("%v: %v", k, got)
		}
	}
	if count[kafkawire.EarlyOptIn] != 1 || count[kafkawire.EarlySafe] < 20 {
		t.Errorf("%v", count)
	}
	if got := kafkawire.EarlyNever.String() + kafkawire.EarlyOptIn.String() + kafkawire.EarlySafe.String(); got != "neveropt-insafe" {
		t.Error(got)
	}
}

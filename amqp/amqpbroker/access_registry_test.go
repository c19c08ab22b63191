package amqpbroker

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegistrySettings(t *testing.T) {
	all := []func() (setting, error){
		withUser(User{Name: "u", PasswordHash: HashPassword("x"), Tags: UserTags{"a"}, Limits: map[string]int64{limitChannels: 1}}),
		withUser(User{Name: "w"}),
		withPermission(Permission{"u", "v", "a", "b", "c"}),
		withPermission(Permission{"w", "v", "", "", ""}),
		withTopicPermission(TopicPermission{"u", "v", "x", "d", "e"}),
		withTopicPermission(TopicPermission{"u", "v", "y", "d", "e"}),
		func() (setting, error) { return vhostLimitsSetting("v", map[string]int64{limitQueues: 1}) },
		withPolicy(Policy{Vhost: "v", Name: "p", Pattern: ".", Definition: Arguments{{Key: "max-length", Value: int64(1)}}, Priority: 3}),
		withPolicy(Policy{Vhost: "other", Name: "p", Pattern: ".", Definition: Arguments{{Key: "max-length", Value: int64(1)}}}),
		withOperatorPolicy(Policy{Vhost: "v", Name: "p", Pattern: ".", Definition: Arguments{{Key: "expires", Value: int64(1)}}}),
		func() (setting, error) {
			return setting{settingParameter, "v", "n", "c", json.RawMessage(`{"a":1}`)}, nil
		},
		func() (setting, error) {
			return setting{Kind: settingGlobal, Name: "g", Value: json.RawMessage(`"x"`)}, nil
		},
	}
	r := testRegistry(t, all...)
	first := r.settings()
	if len(first) != len(all) {
		t.Errorf("%d settings, want %d", len(first), len(all))
	}
	// Replayed in another order and twice they give the same.
	again := newRegistry(nil)
	for range 2 {
		for i := range first {
			if err := again.apply(first[len(first)-1-i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(first, again.settings()); diff != "" {
		t.Error(diff)
	}
	gen := r.generation()
	for _, s := range r.ofUser("u") {
		if err := r.apply(s); err != nil {
			t.Fatal(err)
		}
	}
	if r.generation() == gen {
		t.Error("the generation is the same after a change")
	}
	if n := len(r.settings()); n != len(all)-4 {
		t.Errorf("%d settings without the user", n)
	}
	for _, s := range r.ofVhost("v") {
		if err := r.apply(s); err != nil {
			t.Fatal(err)
		}
	}
	var left []settingKey
	for _, s := range r.settings() {
		left = append(left, s.key())
	}
	want := []settingKey{{kind: settingGlobal, name: "g"}, {kind: settingPolicy, vhost: "other", name: "p"}, {kind: settingUser, name: "w"}}
	if diff := cmp.Diff(want, left, cmp.AllowUnexported(settingKey{})); diff != "" {
		t.Error(diff)
	}
}

func FuzzRegistryApply(f *testing.F) {
	f.Add([]byte(`{"kind":"user","name":"a","value":{"name":"a"}}`))
	f.Add([]byte(`{"kind":"policy","name":"a","value":{"name":"a","pattern":"(","definition":[]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSetting(b)
		if err != nil {
			return
		}
		r := newRegistry(nil)
		if r.apply(s) == nil && s.Value != nil {
			for _, s := range r.settings() {
				if err := newRegistry(nil).apply(s); err != nil {
					t.Errorf("%s: %v", s.append(nil), err)
				}
			}
		}
	})
}

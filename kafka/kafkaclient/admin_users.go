package kafkaclient

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"maps"
	"slices"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// SCRAMUser is a user with passwords for [SCRAM].
type SCRAMUser struct {
	Name        string
	Credentials []SCRAMCredential
}

// SCRAMCredential is what a broker has of a password.
type SCRAMCredential struct {
	Hash       string // SHA256 or SHA512
	Iterations int32
}

// scramHash is the number of a hash in requests.
func scramHash(name string) (number int8, h func() hash.Hash, size int, err error) {
	switch name {
	case SHA256:
		return 1, sha256.New, sha256.Size, nil
	case SHA512:
		return 2, sha512.New, sha512.Size, nil
	}
	return 0, nil, 0, errors.New("kafkaclient: unknown hash " + name)
}

// SCRAMUsers describes users, all without names, by name.
func (a *Admin) SCRAMUsers(ctx context.Context, names ...string) (users []SCRAMUser, err error) {
	req := new(kafkawire.DescribeUserSCRAMCredentialsRequest)
	for _, s := range names {
		req.Users = append(req.Users, kafkawire.DescribeUserSCRAMCredentialsRequestUser{Name: s})
	}
	r, err := request[*kafkawire.DescribeUserSCRAMCredentialsResponse](ctx, a.c, req)
	if err != nil {
		return nil, err
	}
	if err := remote(r.ErrorCode, r.ErrorMessage); err != nil {
		return nil, err
	}
	var errs ItemErrors
	for _, x := range r.Results {
		if x.ErrorCode != 0 {
			errs.add(x.User, remote(x.ErrorCode, x.ErrorMessage))
			continue
		}
		u := SCRAMUser{Name: x.User}
		for _, c := range x.CredentialInfos {
			hash := SHA256
			if c.Mechanism == 2 {
				hash = SHA512
			}
			u.Credentials = append(u.Credentials, SCRAMCredential{hash, c.Iterations})
		}
		users = append(users, u)
	}
	slices.SortFunc(users, func(a, b SCRAMUser) int { return compareNames(a.Name, b.Name) })
	return users, errs.err()
}

// SetSCRAMPassword sets the password of a user for a hash, and creates the user if need be. The password itself is not sent.
// Iterations of zero are 8192; brokers take 4096 to 16,384.
func (a *Admin) SetSCRAMPassword(ctx context.Context, user, hash, password string, iterations int32) error {
	number, h, size, err := scramHash(hash)
	if err != nil {
		return err
	}
	if password, err = sasl.Prepare(password); err != nil {
		return err
	}
	salt := make([]byte, 24)
	rand.Read(salt)
	iterations = orDefault(iterations, 8192)
	if iterations < 1 || iterations > 1<<24 {
		return errors.New("kafkaclient: iterations out of range")
	}
	salted, err := pbkdf2.Key(h, password, salt, int(iterations), size)
	if err != nil {
		return err
	}
	return a.alterUsers(ctx, &kafkawire.AlterUserSCRAMCredentialsRequest{Upsertions: []kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{
		{Name: user, Mechanism: number, Iterations: iterations, Salt: salt, SaltedPassword: salted}}})
}

// DeleteSCRAMPassword deletes the password of a user for a hash.
func (a *Admin) DeleteSCRAMPassword(ctx context.Context, user, hash string) error {
	number, _, _, err := scramHash(hash)
	if err != nil {
		return err
	}
	return a.alterUsers(ctx, &kafkawire.AlterUserSCRAMCredentialsRequest{Deletions: []kafkawire.AlterUserSCRAMCredentialsRequestDeletion{{Name: user, Mechanism: number}}})
}

func (a *Admin) alterUsers(ctx context.Context, req *kafkawire.AlterUserSCRAMCredentialsRequest) error {
	r, err := change(ctx, a.c, req, func(r *kafkawire.AlterUserSCRAMCredentialsResponse) (code kafkawire.ErrorCode) {
		for _, x := range r.Results {
			code = max(code, x.ErrorCode)
		}
		return code
	})
	if err != nil {
		return err
	}
	var errs ItemErrors
	for _, x := range r.Results {
		errs.add(x.User, remote(x.ErrorCode, x.ErrorMessage))
	}
	return errs.err()
}

// QuotaEntity is whom a quota concerns: names by their type, "user", "client-id" or "ip". An empty name is the default of
// its type.
type QuotaEntity map[string]string

// Quota is the quotas of an entity, such as "producer_byte_rate".
type Quota struct {
	Entity QuotaEntity
	Values map[string]float64
}

// Quotas lists the quotas of entities that have all of some types and names. A name of "*" is any; none at all are all
// quotas.
func (a *Admin) Quotas(ctx context.Context, match QuotaEntity) (list []Quota, err error) {
	req := new(kafkawire.DescribeClientQuotasRequest)
	for _, kind := range slices.Sorted(maps.Keys(match)) {
		c := kafkawire.DescribeClientQuotasRequestComponent{EntityType: kind}
		switch name := match[kind]; name {
		case "":
			c.MatchType = 1
		case "*":
			c.MatchType = 2
		default:
			c.Match = &name
		}
		req.Components = append(req.Components, c)
	}
	r, err := request[*kafkawire.DescribeClientQuotasResponse](ctx, a.c, req)
	if err != nil {
		return nil, err
	}
	for _, x := range r.Entries {
		q := Quota{Entity: make(QuotaEntity), Values: make(map[string]float64)}
		for _, e := range x.Entity {
			name := ""
			if e.EntityName != nil {
				name = *e.EntityName
			}
			q.Entity[e.EntityType] = name
		}
		for _, v := range x.Values {
			q.Values[v.Key] = v.Value
		}
		list = append(list, q)
	}
	return list, remote(r.ErrorCode, r.ErrorMessage)
}

// AlterQuotas sets quotas of an entity, and removes others.
func (a *Admin) AlterQuotas(ctx context.Context, entity QuotaEntity, set map[string]float64, remove ...string) error {
	x := kafkawire.AlterClientQuotasRequestEntry{}
	for _, kind := range slices.Sorted(maps.Keys(entity)) {
		x.Entity = append(x.Entity, kafkawire.AlterClientQuotasRequestEntity{EntityType: kind, EntityName: textFilter(entity[kind])})
	}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		x.Ops = append(x.Ops, kafkawire.AlterClientQuotasRequestOp{Key: k, Value: set[k]})
	}
	for _, k := range remove {
		x.Ops = append(x.Ops, kafkawire.AlterClientQuotasRequestOp{Key: k, Remove: true})
	}
	r, err := change(ctx, a.c, &kafkawire.AlterClientQuotasRequest{Entries: []kafkawire.AlterClientQuotasRequestEntry{x}}, func(r *kafkawire.AlterClientQuotasResponse) (code kafkawire.ErrorCode) {
		for _, e := range r.Entries {
			code = max(code, e.ErrorCode)
		}
		return code
	})
	if err != nil {
		return err
	}
	for _, e := range r.Entries {
		if err := remote(e.ErrorCode, e.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

package kafkabroker

import (
	"slices"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// maxIterations is the most that clients may ask for, as in Apache Kafka.
const maxIterations = 16384

// scramMechanisms are the mechanisms by their numbers in the protocol.
var scramMechanisms = [...]string{1: sasl.SCRAMSHA256, 2: sasl.SCRAMSHA512}

// scramMechanism returns the name of a mechanism.
func scramMechanism(n int8) (name string, err error) {
	if n < 1 || int(n) >= len(scramMechanisms) {
		return "", logError(kafkawire.ErrUnsupportedSASLMechanism, "there is no SCRAM mechanism %d", n)
	}
	return scramMechanisms[n], nil
}

// describeUsers tells of users how their passwords are kept.
func (s *session) describeUsers(r *kafkaserver.Request) {
	var req kafkawire.DescribeUserSCRAMCredentialsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	resp := kafkawire.DescribeUserSCRAMCredentialsResponse{Results: []kafkawire.DescribeUserSCRAMCredentialsResponseResult{}}
	if !s.allowed(opDescribe, resourceCluster, clusterName) {
		resp.ErrorCode = kafkawire.ErrClusterAuthorizationFailed
		r.Reply(&resp)
		return
	}
	count := make(map[string]int)
	var names []string
	for _, u := range req.Users {
		if count[u.Name]++; count[u.Name] == 1 {
			names = append(names, u.Name)
		}
	}
	if len(req.Users) == 0 {
		names = s.b.Users()
	}
	for _, name := range names {
		result := kafkawire.DescribeUserSCRAMCredentialsResponseResult{User: name,
			CredentialInfos: []kafkawire.DescribeUserSCRAMCredentialsResponseCredentialInfo{}}
		for n := int8(1); int(n) < len(scramMechanisms); n++ {
			if c, ok := s.b.users.credential(scramMechanisms[n], name); ok {
				result.CredentialInfos = append(result.CredentialInfos,
					kafkawire.DescribeUserSCRAMCredentialsResponseCredentialInfo{Mechanism: n, Iterations: int32(c.Iterations)})
			}
		}
		switch {
		case count[name] > 1:
			result.CredentialInfos = nil
			result.ErrorCode, result.ErrorMessage = kafkawire.ErrDuplicateResource, new("the request has this user more than once")
		case len(result.CredentialInfos) == 0:
			result.ErrorCode, result.ErrorMessage = kafkawire.ErrResourceNotFound, new("there is no such user")
		}
		if result.CredentialInfos == nil {
			result.CredentialInfos = []kafkawire.DescribeUserSCRAMCredentialsResponseCredentialInfo{}
		}
		resp.Results = append(resp.Results, result)
	}
	r.Reply(&resp)
}

// alterUsers sets and deletes passwords. A user with something wrong stays as it is.
func (s *session) alterUsers(r *kafkaserver.Request) {
	var req kafkawire.AlterUserSCRAMCredentialsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	w := userWork{b: s.b, errs: make(map[string]error), changed: make(map[string]bool)}
	may := s.allowed(opAlter, resourceCluster, clusterName)
	for i := range req.Deletions {
		d := &req.Deletions[i]
		w.note(d.Name, may, func() error { return w.delete(d) })
	}
	for i := range req.Upsertions {
		u := &req.Upsertions[i]
		w.note(u.Name, may, func() error { return w.upsert(u) })
	}
	w.apply()
	resp := kafkawire.AlterUserSCRAMCredentialsResponse{Results: make([]kafkawire.AlterUserSCRAMCredentialsResponseResult, 0, len(w.names))}
	for _, name := range w.names {
		err := w.errs[name]
		resp.Results = append(resp.Results,
			kafkawire.AlterUserSCRAMCredentialsResponseResult{User: name, ErrorCode: errorCode(err), ErrorMessage: errorText(err)})
	}
	r.Reply(&resp)
}

// userWork gathers changes of users.
type userWork struct {
	b       *Broker
	names   []string // in the order of the request
	errs    map[string]error
	changes []credentialChange
	changed map[string]bool // users that are in changes
}

// note makes a change of a user unless there is an error already.
func (w *userWork) note(name string, may bool, f func() error) {
	err, known := w.errs[name]
	if !known {
		w.names = append(w.names, name)
	}
	switch {
	case err != nil:
	case !may:
		err = logError(kafkawire.ErrClusterAuthorizationFailed, "this needs the operation %v on the cluster", opAlter)
	case name == "":
		err = logError(kafkawire.ErrUnacceptableCredential, "the name of the user is empty")
	default:
		err = f()
	}
	w.errs[name] = err
}

// add adds a change. Apache Kafka takes one of each user, also where the mechanisms differ.
func (w *userWork) add(c credentialChange) error {
	if w.changed[c.key.name] {
		return logError(kafkawire.ErrDuplicateResource, "the request changes this user more than once")
	}
	w.changed[c.key.name] = true
	w.changes = append(w.changes, c)
	return nil
}

func (w *userWork) delete(d *kafkawire.AlterUserSCRAMCredentialsRequestDeletion) error {
	mechanism, err := scramMechanism(d.Mechanism)
	if err != nil {
		return err
	}
	if _, ok := w.b.users.credential(mechanism, d.Name); !ok {
		return logError(kafkawire.ErrResourceNotFound, "the user has no password for %s", mechanism)
	}
	return w.add(credentialChange{key: userKey{d.Name, mechanism}})
}

func (w *userWork) upsert(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) error {
	mechanism, err := scramMechanism(u.Mechanism)
	if err != nil {
		return err
	}
	if u.Iterations < sasl.MinIterations || u.Iterations > maxIterations {
		return logError(kafkawire.ErrUnacceptableCredential, "%d iterations; want %d to %d", u.Iterations, sasl.MinIterations, maxIterations)
	}
	c, err := sasl.SaltedCredential(mechanism, u.SaltedPassword, slices.Clone(u.Salt), int(u.Iterations))
	if err != nil {
		return logError(kafkawire.ErrUnacceptableCredential, "%v", err)
	}
	return w.add(credentialChange{userKey{u.Name, mechanism}, c})
}

// apply makes the changes of users without an error.
func (w *userWork) apply() {
	w.changes = slices.DeleteFunc(w.changes, func(c credentialChange) bool { return w.errs[c.key.name] != nil })
	if len(w.changes) == 0 {
		return
	}
	if err := w.b.changeUsers(w.changes); err != nil {
		for _, c := range w.changes {
			w.errs[c.key.name] = err
		}
	}
}

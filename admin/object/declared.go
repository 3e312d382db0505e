package object

import (
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
)

// SetDeclared says what the configuration file declares: the next start brings that back to what the file says.
func (o *Objects) SetDeclared(d broker.Definition) {
	set := map[declaration]bool{}
	for i := range d.Clients {
		set[declaration{change.Client, d.Clients[i].Username}] = true
	}
	for i := range d.Topics {
		set[declaration{change.Topic, d.Topics[i].Name}] = true
	}
	for i := range d.Producers {
		set[declaration{change.Producer, OfTopic(d.Producers[i].Client, d.Producers[i].Topic)}] = true
	}
	for i := range d.Consumers {
		set[declaration{change.Consumer, OfTopic(d.Consumers[i].Label(), d.Consumers[i].Topic)}] = true
	}
	for i := range d.Webhooks {
		set[declaration{change.Webhook, d.Webhooks[i].Name}] = true
	}
	o.declared.Store(&set)
}

// declaration is an object by its kind and its name, as Noun.Name has it.
type declaration struct {
	kind change.Kind
	name string
}

// marking has a noun say of each object whether the configuration file declares it.
func marking[T any](n *Noun[T], declared func(*T) *bool) *Noun[T] {
	mark := func(v *T) {
		if set := n.o.declared.Load(); set != nil {
			*declared(v) = (*set)[declaration{n.Kind, n.Name(v)}]
		}
	}
	list, find := n.List, n.find
	n.List = func(q gate.Query) (gate.List[T], error) {
		l, err := list(q)
		for i := range l.Items {
			mark(&l.Items[i])
		}
		return l, err
	}
	n.find = func(key string) (T, bool) {
		v, ok := find(key)
		if ok {
			mark(&v)
		}
		return v, ok
	}
	n.Declared = func(v *T) bool { return *declared(v) }
	return n
}

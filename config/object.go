package config

import (
	"fmt"
	"slices"

	"pipit/broker"
	"pipit/broker/property"
)

// Definition is what the configuration declares, in the words of the broker.
func (c *Config) Definition() broker.Definition {
	return broker.Definition{
		Clients: slices.Clone(c.Client), Topics: slices.Clone(c.Topic),
		Producers: slices.Clone(c.Producer), Consumers: slices.Clone(c.Consumer), Webhooks: slices.Clone(c.Webhook),
	}
}

// given notes the required keys of an object that are missing, and texts that are none of those to choose from.
func given[T any](b *binder, path string, fields property.Fields[T], object *T) {
	for i := range fields {
		f := &fields[i]
		at := joinKey(path, f.Name)
		switch v, _ := f.Value(object).(string); {
		case f.Required && f.IsEmpty(object):
			b.notef(at, "it is missing")
		case f.Options != nil && f.Other == "":
			b.oneOf(at, v, f.Texts())
		}
	}
}

// objects refuses what is wrong with clients, topics, producers, consumers and webhooks, as far as the
// configuration alone tells it.
func (b *binder) objects(c *Config) {
	declared := map[string]bool{}
	once := func(path, what string, id ...string) {
		k := fmt.Sprintf("%s %q", what, id)
		if declared[k] && id[0] != "" {
			b.notef(path, "%s %q is declared twice", what, id)
		}
		declared[k] = true
	}
	for i, v := range c.Client {
		path := fmt.Sprintf("client[%d]", i)
		given(b, path, broker.ClientFields, &v)
		switch {
		case v.Password != "" && v.PasswordHash != "":
			b.notef(path+".password_hash", "allowed is one of password and password_hash, and client %q has both", v.Username)
		case v.Password == "" && v.PasswordHash == "" && !b.faulty[path+".password_hash"]:
			b.notef(path+".password", "it is missing, as is the password_hash of client %q", v.Username)
		}
		once(path+".username", "client", v.Username)
		b.valid(path, v.Validate())
	}
	for i, v := range c.Topic {
		path := fmt.Sprintf("topic[%d]", i)
		given(b, path, broker.TopicFields, &v)
		once(path+".name", "topic", v.Name)
		b.valid(path, v.Validate())
	}
	for i, v := range c.Producer {
		path := fmt.Sprintf("producer[%d]", i)
		given(b, path, broker.ProducerFields, &v)
		once(path+".client", "producer", v.Client, v.Topic)
	}
	for i, v := range c.Webhook {
		path := fmt.Sprintf("webhook[%d]", i)
		given(b, path, broker.WebhookFields, &v)
		once(path+".name", "webhook", v.Name)
		b.valid(path, v.Validate())
	}
	for i, v := range c.Consumer {
		path := fmt.Sprintf("consumer[%d]", i)
		given(b, path, broker.ConsumerFields, &v)
		b.valid(path, v.Validate())
		if b.faulty[path+".sub_key"] {
			continue
		}
		if v.Name != "" {
			once(path+".name", "consumer", v.Client, v.Topic, v.Name)
		} else if v.SubKey == "" {
			once(path+".client", "consumer without name and sub_key", v.Client, v.Topic)
		}
		if v.SubKey == "" {
			continue
		}
		if k := "sub_key " + v.SubKey; declared[k] {
			b.errorf(path+".sub_key", "a value that is not shown: another consumer has the same one")
		} else {
			declared[k] = true
		}
	}
}

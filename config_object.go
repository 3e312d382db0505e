package main

import "fmt"

// objects refuses what is wrong with clients, topics, producers and consumers, as far as the
// configuration alone tells it.
func (b *binder) objects(c *config) {
	seen := map[string]bool{}
	once := func(path, what string, id ...string) {
		k := fmt.Sprintf("%s %q", what, id)
		if seen[k] && id[0] != "" {
			b.notef(path, "%s %q is declared twice", what, id)
		}
		seen[k] = true
	}
	def := c.definition()
	for i, v := range c.Client {
		path := fmt.Sprintf("client[%d]", i)
		b.missing(path, v)
		switch {
		case v.Password != "" && v.PasswordHash != "":
			b.notef(path+".password_hash", "client %q has both a password and a password_hash: allowed is one of them", v.Username)
		case v.Password == "" && v.PasswordHash == "" && !b.faulty[path+".password_hash"]:
			b.notef(path+".password", "client %q has neither a password nor a password_hash", v.Username)
		}
		once(path+".username", "client", v.Username)
		b.valid(path, def.Clients[i].Validate())
	}
	for i, v := range c.Topic {
		path := fmt.Sprintf("topic[%d]", i)
		b.missing(path, v)
		once(path+".name", "topic", v.Name)
		b.valid(path, def.Topics[i].Validate())
	}
	for i, v := range c.Producer {
		path := fmt.Sprintf("producer[%d]", i)
		b.missing(path, v)
		once(path+".client", "producer", v.Client, v.Topic)
	}
	for i, v := range c.Consumer {
		path := fmt.Sprintf("consumer[%d]", i)
		b.missing(path, v)
		b.oneOf(path+".start", v.Start, starts)
		b.valid(path, def.Consumers[i].Validate())
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
		if k := "sub_key " + string(v.SubKey); seen[k] {
			b.errorf(path+".sub_key", "a value that is not shown: another consumer has the same one")
		} else {
			seen[k] = true
		}
	}
}

package config

import (
	"fmt"
	"time"

	"pipit/broker"
)

type clientConfig struct {
	Name         string `toml:"name"`
	Username     string `toml:"username" required:"true"`
	Password     secret `toml:"password"`
	PasswordHash secret `toml:"password_hash"`
	IsActive     bool   `toml:"is_active"`
}

type topicConfig struct {
	Name        string        `toml:"name" required:"true"`
	IsActive    bool          `toml:"is_active"`
	MaxDepth    int64         `toml:"max_depth"`
	Expiration  int64         `toml:"expiration"`
	DedupWindow time.Duration `toml:"dedup_window"`
}

type producerConfig struct {
	Client   string `toml:"client" required:"true"`
	Topic    string `toml:"topic" required:"true"`
	IsActive bool   `toml:"is_active"`
}

type consumerConfig struct {
	Client      string        `toml:"client" required:"true"`
	Topic       string        `toml:"topic" required:"true"`
	Name        string        `toml:"name"`
	SubKey      secret        `toml:"sub_key"`
	IsActive    bool          `toml:"is_active"`
	MaxDepth    int64         `toml:"max_depth"`
	MaxInFlight int64         `toml:"max_in_flight" min:"1" max:"1000000"`
	AckTimeout  time.Duration `toml:"ack_timeout"`
	Start       string        `toml:"start"`
}

// Definition is what the configuration declares, in the words of the broker.
func (c *Config) Definition() broker.Definition {
	var d broker.Definition
	for _, v := range c.Client {
		d.Clients = append(d.Clients, broker.Client{
			Username: v.Username, Name: v.Name, Active: v.IsActive,
			Password: string(v.Password), PasswordHash: string(v.PasswordHash),
		})
	}
	for _, v := range c.Topic {
		d.Topics = append(d.Topics, broker.Topic{
			Name: v.Name, Active: v.IsActive,
			MaxDepth: v.MaxDepth, Expiration: v.Expiration, DedupWindow: v.DedupWindow,
		})
	}
	for _, v := range c.Producer {
		d.Producers = append(d.Producers, broker.Producer{Client: v.Client, Topic: v.Topic, Active: v.IsActive})
	}
	for _, v := range c.Consumer {
		d.Consumers = append(d.Consumers, broker.Consumer{
			Client: v.Client, Topic: v.Topic, Name: v.Name, SubKey: string(v.SubKey), Active: v.IsActive,
			MaxDepth: v.MaxDepth, MaxInFlight: int(v.MaxInFlight), AckTimeout: v.AckTimeout,
			Start: v.Start,
		})
	}
	return d
}

// objects refuses what is wrong with clients, topics, producers and consumers, as far as the
// configuration alone tells it.
func (b *binder) objects(c *Config) {
	seen := map[string]bool{}
	once := func(path, what string, id ...string) {
		k := fmt.Sprintf("%s %q", what, id)
		if seen[k] && id[0] != "" {
			b.notef(path, "%s %q is declared twice", what, id)
		}
		seen[k] = true
	}
	def := c.Definition()
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

// Ogen creates a topic, publishes to it, lists its messages and deletes it, by a client that ogen
// made of the description.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/ogen-go/ogen/ogenerrors"

	"clients/ogen/api"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Getenv("PIPIT_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// token is all that the client signs in with.
type token string

func (t token) Bearer(context.Context, api.OperationName) (api.Bearer, error) {
	return api.Bearer{Token: string(t)}, nil
}

func (token) Basic(context.Context, api.OperationName) (api.Basic, error) {
	return api.Basic{}, ogenerrors.ErrSkipClientSecurity
}

func (token) Cookie(context.Context, api.OperationName) (api.Cookie, error) {
	return api.Cookie{}, ogenerrors.ErrSkipClientSecurity
}

func run(ctx context.Context, url, secret string) error {
	c, err := api.NewClient(url, token(secret))
	if err != nil {
		return err
	}
	const name = "/made/by ogen"
	created, err := c.CreateTopic(ctx, &api.NewTopic{Name: name, Expiration: api.NewOptNilInt64(3600)})
	if err != nil {
		return err
	}
	topic, ok := created.(*api.TopicHeaders)
	if !ok || topic.Response.Name != name || topic.Response.Expiration != 3600 {
		return fmt.Errorf("create: %+v", created)
	}
	answer, err := c.PublishMessage(ctx, &api.Publication{Payload: api.NewOptNilString("Hello")}, api.PublishMessageParams{Topic: name})
	if err != nil {
		return err
	}
	published, ok := answer.(*api.PublishedHeaders)
	if !ok {
		return fmt.Errorf("publish: %+v", answer)
	}
	listed, err := c.ListMessages(ctx, api.ListMessagesParams{Topic: api.NewOptString(name)})
	if err != nil {
		return err
	}
	messages, ok := listed.(*api.MessageList)
	if !ok || len(messages.Items) != 1 || messages.Items[0].MsgID != published.Response.MsgID || messages.Items[0].Payload.Value != "Hello" {
		return fmt.Errorf("list: %+v", listed)
	}
	// The name is in the query, as behind a proxy that decodes %2F.
	gone, err := c.DeleteTopic(ctx, api.DeleteTopicParams{Topic: "-", Name: api.NewOptString(name)})
	if err != nil {
		return err
	}
	if deleted, ok := gone.(*api.Gone); !ok || deleted.Messages != 1 {
		return fmt.Errorf("delete: %+v", gone)
	}
	again, err := c.DeleteTopic(ctx, api.DeleteTopicParams{Topic: name})
	if err != nil {
		return err
	}
	if _, ok := again.(*api.DeleteTopicNotFound); !ok {
		return fmt.Errorf("delete again: %+v", again)
	}
	fmt.Println("done")
	return nil
}

// Oapi creates a topic, publishes to it, lists its messages and deletes it, by a client that
// oapi-codegen made of the description.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"clients/oapi/api"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Getenv("PIPIT_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, token string) error {
	c, err := api.NewClientWithResponses(url, api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}))
	if err != nil {
		return err
	}
	const name = "/made/by oapi-codegen"
	expiration := int64(3600)
	topic, err := c.CreateTopicWithResponse(ctx, api.NewTopic{Name: name, Expiration: &expiration})
	if err != nil {
		return err
	}
	if topic.JSON201 == nil || topic.JSON201.Name != name || topic.JSON201.Expiration != expiration {
		return fmt.Errorf("create: %s %s", topic.Status(), topic.Body)
	}
	text := "Hello"
	published, err := c.PublishMessageWithResponse(ctx, name, nil, api.Publication{Payload: &text})
	if err != nil {
		return err
	}
	if published.JSON201 == nil {
		return fmt.Errorf("publish: %s %s", published.Status(), published.Body)
	}
	messages, err := c.ListMessagesWithResponse(ctx, &api.ListMessagesParams{Topic: &topic.JSON201.Name})
	if err != nil {
		return err
	}
	if messages.JSON200 == nil || len(messages.JSON200.Items) != 1 || messages.JSON200.Items[0].MsgId != published.JSON201.MsgId || *messages.JSON200.Items[0].Payload != text {
		return fmt.Errorf("list: %s %s", messages.Status(), messages.Body)
	}
	elsewhere := "-" // the name is in the query, as behind a proxy that decodes %2F
	deleted, err := c.DeleteTopicWithResponse(ctx, elsewhere, &api.DeleteTopicParams{Name: &topic.JSON201.Name})
	if err != nil {
		return err
	}
	if deleted.JSON200 == nil || deleted.JSON200.Messages != 1 {
		return fmt.Errorf("delete: %s %s", deleted.Status(), deleted.Body)
	}
	again, err := c.DeleteTopicWithResponse(ctx, name, nil)
	if err != nil {
		return err
	}
	if again.ApplicationproblemJSON404 == nil || again.ApplicationproblemJSON404.Code != api.ProblemCodeNotFound {
		return fmt.Errorf("delete again: %s %s", again.Status(), again.Body)
	}
	fmt.Println("done")
	return nil
}

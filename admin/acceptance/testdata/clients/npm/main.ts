// Creates a topic, publishes to it, lists its messages and deletes it, by the types that
// openapi-typescript made of the description.
import createClient from "openapi-fetch";
import type { paths } from "./api";

const [url, token] = [process.argv[2], process.env.PIPIT_TOKEN];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

function check(what: string, ok: boolean, answer: { response: Response; error?: unknown }) {
  if (!ok) throw new Error(`${what}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
}

async function main() {
  const name = "/made/by openapi-typescript";
  const created = await client.POST("/admin/api/v1/topics", { body: { name, expiration: 3600 } });
  check("create", created.data?.name === name && created.data.expiration === 3600, created);
  const published = await client.POST("/admin/api/v1/topics/{topic}/messages", { params: { path: { topic: name } }, body: { payload: "Hello" } });
  check("publish", published.data !== undefined, published);
  const listed = await client.GET("/admin/api/v1/messages", { params: { query: { topic: name } } });
  check("list", listed.data?.items.length === 1 && listed.data.items[0].msg_id === published.data?.msg_id && listed.data.items[0].payload === "Hello", listed);
  // The name is in the query, as behind a proxy that decodes %2F.
  const deleted = await client.DELETE("/admin/api/v1/topics/{topic}", { params: { path: { topic: "-" }, query: { name } } });
  check("delete", deleted.data?.messages === 1, deleted);
  const again = await client.DELETE("/admin/api/v1/topics/{topic}", { params: { path: { topic: name } } });
  check("delete again", again.error?.code === "not_found", again);
  console.log("done");
}

void main().catch((err: unknown) => {
  console.error(err);
  process.exit(1);
});

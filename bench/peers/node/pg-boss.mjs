// node pg-boss.mjs CONNECTION URL JOBS: adds jobs, then delivers them all; prints the seconds that took.
import PgBoss from 'pg-boss';
import pg from 'pg';

const [connectionString, url, jobs] = process.argv.slice(2);
const boss = new PgBoss({ connectionString, max: 12, supervise: false, schedule: false });
await boss.start();
await boss.createQueue('post');
const client = new pg.Client({ connectionString });
await client.connect();
const { rows } = await client.query('SELECT payload FROM bench.messages LIMIT $1', [Number(jobs)]);
await client.end();
for (let i = 0; i < rows.length; i += 1000) {
  await boss.insert(rows.slice(i, i + 1000).map((row) => ({ name: 'post', data: row.payload })));
}
let done = 0;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const start = performance.now();
// Eight pollers, each with batches large enough that waiting between polls hardly counts.
for (let i = 0; i < 8; i += 1) {
  await boss.work('post', { batchSize: 250, pollingIntervalSeconds: 0.5 }, async (batch) => {
    for (const job of batch) {
      const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(job.data) });
      if (!answer.ok) throw new Error(String(answer.status));
      await answer.arrayBuffer();
      if (++done === Number(jobs)) finish();
    }
  });
}
await finished;
console.log(`seconds ${((performance.now() - start) / 1000).toFixed(3)}`);
await boss.stop({ graceful: false });
process.exit(0);

// node graphile-worker.mjs CONNECTION URL JOBS: adds jobs, then delivers them all; prints the seconds that took.
import { run, makeWorkerUtils } from 'graphile-worker';
import pg from 'pg';

const [connectionString, url, jobs] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString, max: 12 });
const utils = await makeWorkerUtils({ pgPool: pool });
await utils.migrate();
await pool.query(
  `SELECT count(graphile_worker.add_job('post', json_build_object('messageId', payload ->> 'messageId', 'body', payload)))
   FROM bench.messages LIMIT $1`,
  [Number(jobs)],
);
let done = 0;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const start = performance.now();
const runner = await run({
  pgPool: pool,
  concurrency: 8,
  noHandleSignals: true,
  pollInterval: 100,
  taskList: {
    post: async (payload) => {
      const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(payload.body) });
      if (!answer.ok) throw new Error(String(answer.status));
      await answer.arrayBuffer();
      if (++done === Number(jobs)) finish();
    },
  },
});
await finished;
console.log(`seconds ${((performance.now() - start) / 1000).toFixed(3)}`);
await runner.stop();
await utils.release();
await pool.end();
process.exit(0);

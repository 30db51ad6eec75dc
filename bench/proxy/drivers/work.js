// node-postgres through the proxy: ordinary work, every answer checked. The connection is in the environment (PGHOST ...).
const assert = require('node:assert');
const { Pool, Client } = require('pg');

async function session(pool, number) {
  for (let n = 0; n < 20; n++) {
    const client = await pool.connect();
    try {
      const { rows } = await client.query({ name: 'sum', text: 'select $1::int + $2::int as sum', values: [number, n] });
      assert.strictEqual(rows[0].sum, number + n);
      await client.query('begin');
      await client.query('insert into node_t values ($1, $2)', [number * 100 + n, `row ${n}`]);
      await client.query('savepoint a');
      await assert.rejects(client.query('insert into node_t values ($1, $2)', [number * 100 + n, 'twice']), { code: '23505' });
      await client.query('rollback to a');
      await client.query('commit');
      const back = await client.query('select b from node_t where a = $1', [number * 100 + n]);
      assert.strictEqual(back.rows[0].b, `row ${n}`);
    } finally {
      client.release();
    }
  }
}

async function main() {
  const one = new Client();
  await one.connect();
  await one.query('drop table if exists node_t; create table node_t (a int primary key, b text)');
  const notices = [];
  one.on('notice', (notice) => notices.push(notice.message));
  await one.query("do $$ begin raise notice 'heard'; end $$");
  assert.deepStrictEqual(notices, ['heard']);
  await one.query("set timezone = 'Asia/Tokyo'");
  const pool = new Pool({ max: 40 });
  await Promise.all(Array.from({ length: 40 }, (_, number) => session(pool, number)));
  await pool.end();
  assert.strictEqual((await one.query('show timezone')).rows[0].TimeZone, 'Asia/Tokyo');
  assert.strictEqual((await one.query('select count(*)::int as n from node_t')).rows[0].n, 800);
  await assert.rejects(one.query('select nonsense'), { code: '42703' });
  const many = await one.query('select generate_series(1, 5000) as n; select 2 as two');
  assert.strictEqual(many[0].rows.length, 5000);
  assert.strictEqual(many[1].rows[0].two, 2);
  await one.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

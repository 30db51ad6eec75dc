//! sqlx through the proxy: ordinary work, every answer checked. The connection is in DATABASE_URL.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgPool, Row};

type Outcome = Result<(), sqlx::Error>;

async fn session(pool: PgPool, number: i32) -> Outcome {
    for n in 0..20 {
        let mut transaction = pool.begin().await?;
        sqlx::query("insert into sqlx_t values ($1, $2)").bind(number * 100 + n).bind(format!("row {n}")).execute(&mut *transaction).await?;
        let mut inner = transaction.begin().await?;
        sqlx::query("delete from sqlx_t").execute(&mut *inner).await?;
        inner.rollback().await?;
        transaction.commit().await?;
        let text: String = sqlx::query_scalar("select b from sqlx_t where a = $1").bind(number * 100 + n).fetch_one(&pool).await?;
        assert_eq!(text, format!("row {n}"));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL");
    let pool = PgPoolOptions::new().max_connections(40).connect(&url).await?;
    pool.execute("drop table if exists sqlx_t; create table sqlx_t (a int primary key, b text)").await?;
    let sessions: Vec<_> = (0..40).map(|number| tokio::spawn(session(pool.clone(), number))).collect();
    for session in sessions {
        session.await.expect("no panic")?;
    }
    let count: i64 = sqlx::query_scalar("select count(*) from sqlx_t").fetch_one(&pool).await?;
    assert_eq!(count, 800);
    let mut one = pool.acquire().await?;
    let mut copy = one.copy_in_raw("copy sqlx_t from stdin").await?;
    copy.send("9001\tx\n9002\ty\n".as_bytes()).await?;
    assert_eq!(copy.finish().await?, 2);
    let error = sqlx::query("select nonsense").execute(&mut *one).await.expect_err("refused");
    assert_eq!(error.as_database_error().and_then(|e| e.code().map(|c| c.into_owned())).as_deref(), Some("42703"));
    for n in 0..300 {
        let row = one.fetch_one(sqlx::query(&format!("select $1::int + {n}")).bind(1)).await?;
        assert_eq!(row.get::<i32, _>(0), n + 1);
    }
    one.ping().await
}

// pgjdbc through the proxy: ordinary work, every answer checked. Arguments: JDBC URL; user and password come from the environment.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;

public class Work {
    static Connection open(String url) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        // Named statements on the server from the second use on.
        properties.setProperty("prepareThreshold", "2");
        return DriverManager.getConnection(url, properties);
    }

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static int number(Connection c, String sql, int... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) s.setInt(i + 1, values[i]);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                return r.getInt(1);
            }
        }
    }

    static Void session(String url, int number) throws Exception {
        try (Connection c = open(url)) {
            c.setAutoCommit(false);
            for (int n = 0; n < 20; n++) {
                try (PreparedStatement s = c.prepareStatement("insert into jdbc_t values (?, ?)")) {
                    for (int i = 0; i < 5; i++) {
                        s.setInt(1, number * 1000 + n * 5 + i);
                        s.setString(2, "row " + n);
                        s.addBatch();
                    }
                    check(s.executeBatch().length == 5, "a batch");
                }
                c.commit();
                check(number(c, "select count(*)::int from jdbc_t where a / 1000 = ?", number) == (n + 1) * 5, "own rows");
                try (Statement s = c.createStatement()) {
                    s.setFetchSize(3);
                    int seen = 0;
                    try (ResultSet r = s.executeQuery("select generate_series(1, 10)")) {
                        while (r.next()) seen++;
                    }
                    check(seen == 10, "fetched in parts");
                }
                c.rollback();
            }
        }
        return null;
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        try (Connection one = open(url); Statement s = one.createStatement()) {
            s.execute("drop table if exists jdbc_t; create table jdbc_t (a int primary key, b text)");
            s.execute("set timezone to 'Asia/Tokyo'");
            ExecutorService threads = Executors.newFixedThreadPool(24);
            List<Future<Void>> sessions = new ArrayList<>();
            for (int n = 0; n < 24; n++) {
                int number = n;
                Callable<Void> work = () -> session(url, number);
                sessions.add(threads.submit(work));
            }
            for (Future<Void> session : sessions) session.get();
            threads.shutdown();
            check(number(one, "select count(*)::int from jdbc_t") == 2400, "all rows");
            try (ResultSet r = s.executeQuery("show timezone")) {
                r.next();
                check(r.getString(1).equals("Asia/Tokyo"), "its time zone");
            }
            var copy = one.unwrap(PGConnection.class).getCopyAPI();
            check(copy.copyIn("copy jdbc_t from stdin", new StringReader("900001\tx\n900002\ty\n")) == 2, "copied in");
            StringWriter out = new StringWriter();
            check(copy.copyOut("copy (select * from jdbc_t where a > 900000 order by a) to stdout", out) == 2, "copied out");
            check(out.toString().equals("900001\tx\n900002\ty\n"), out.toString());
            try {
                s.executeQuery("select nonsense");
                throw new AssertionError("an error was expected");
            } catch (SQLException e) {
                check(e.getSQLState().equals("42703"), e.getSQLState());
            }
            for (int n = 0; n < 300; n++) check(number(one, "select ?::int + " + n, 1) == n + 1, "many statements");
        }
    }
}

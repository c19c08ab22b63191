package interop;

import java.util.Objects;

/** Runs checks and prints what came out. */
class Check {
    /** How many seconds to wait for one thing; a busy machine may need a while. */
    static final int WAIT = 60;

    interface Body {
        void run() throws Exception;
    }

    private boolean failed;

    void run(String name, Body body) {
        try {
            body.run();
            System.out.println("ok " + name);
        } catch (Exception | AssertionError e) {
            failed = true;
            System.out.println("FAIL " + name + ": " + e);
            e.printStackTrace(System.out);
        }
    }

    /** Ends the program; clients of failed checks may still be at work. */
    void exit() {
        System.exit(failed ? 1 : 0);
    }

    static void equal(Object want, Object got) {
        if (!Objects.equals(want, got)) {
            throw new AssertionError("got " + got + ", want " + want);
        }
    }
}

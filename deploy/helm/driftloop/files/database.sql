-- The database :name and its user, the only one to enter it beside driftloop. May run again at any time.
\set file '/run/secrets/driftloop/' :name '_database_password'
\set password `cat :'file'`

SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
ALTER DATABASE :"name" OWNER TO :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;

\connect :"name"
ALTER SCHEMA public OWNER TO :"name";

-- What driftloop has made in it, before there were two users or in a restore; what belongs to an extension stays.
CREATE TEMPORARY VIEW of_extensions AS SELECT classid, objid FROM pg_depend WHERE deptype = 'e';
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'name')
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
  AND c.relowner = current_user::regrole AND ('pg_class'::regclass, c.oid) NOT IN (SELECT * FROM of_extensions) \gexec
SELECT format('ALTER SEQUENCE %s OWNER TO %I', c.oid::regclass, :'name')
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S' AND c.relowner = current_user::regrole \gexec
SELECT format('ALTER TYPE %s OWNER TO %I', t.oid::regtype, :'name')
FROM pg_type t
WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd') AND t.typowner = current_user::regrole
  AND ('pg_type'::regclass, t.oid) NOT IN (SELECT * FROM of_extensions) \gexec
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, :'name')
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = current_user::regrole
  AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT * FROM of_extensions) \gexec

-- Two tables of the target as somebody may have made them; the others are created by the first run.
CREATE TABLE customers (
  source VARCHAR(10) NOT NULL,
  customer_id BIGINT NOT NULL,
  name VARCHAR(150) NOT NULL,
  email VARCHAR(120) NULL,
  country CHAR(2) NULL,
  segment VARCHAR(20) NOT NULL DEFAULT 'new', -- no mapping names it: what is written here stays
  PRIMARY KEY (source, customer_id)
);
CREATE TABLE order_items (
  order_id BIGINT UNSIGNED NOT NULL,
  line SMALLINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  quantity INT NOT NULL,
  total DECIMAL(12,2) NOT NULL,
  PRIMARY KEY (order_id, line)
);

-- The sales department's database (MariaDB). Its ids are its own: number 7 is somebody else than the shop's.
CREATE TABLE contacts (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  full_name VARCHAR(150) NOT NULL,
  mail VARCHAR(120) NULL,
  country VARCHAR(2) NULL,
  since DATE NULL
);

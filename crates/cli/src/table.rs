//! Tables as kubectl prints them: upper-case headers, columns three spaces apart. Pure.

/// Lays rows out under their headers. Every row has as many cells as there are headers.
pub(crate) fn render(headers: Option<&[String]>, rows: &[Vec<String>]) -> Vec<String> {
    let header_row: Option<Vec<String>> = headers.map(|h| h.iter().map(|name| name.to_uppercase()).collect());
    let all: Vec<&Vec<String>> = header_row.iter().chain(rows).collect();
    let columns = all.iter().map(|row| row.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| all.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    all.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let rows = vec![vec!["web".to_owned(), "1/1".to_owned()], vec!["longer-name".to_owned(), String::new()]];
        let lines = render(Some(&["Name".to_owned(), "Ready".to_owned()]), &rows);
        assert_eq!(lines, ["NAME          READY", "web           1/1", "longer-name"]);
    }
}

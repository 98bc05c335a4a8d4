//! Surfaces for other programs: VTP for ParaView, OBJ and STL.
//!
//! A point stands at its coefficients and at its height: the loss on its scale, clipped as in pictures, and scaled so
//! that the highest stands half of the longer side above the lowest, which stands at 0. Points that cannot be drawn are
//! left out, with the cells that they are corners of.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use relief_core::SurfaceValues;

use super::field::Field;
use crate::plot::{LossScale, PlotError, PlotSpec};

/// The surface as points and quadrilaterals.
struct Solid {
    /// The places of the points that can be drawn.
    points: Vec<[f64; 3]>,
    /// Which grid points these are.
    grid_idx: Vec<usize>,
    /// The points at the corners of each cell, counter-clockwise from above.
    cells: Vec<[u32; 4]>,
}

impl Solid {
    fn of(field: &Field<'_>) -> Result<Self, PlotError> {
        const NONE: u32 = u32::MAX;
        let extent = |coordinates: &[f64]| coordinates[coordinates.len() - 1] - coordinates[0];
        let height = 0.5 * extent(field.x).max(extent(field.y));
        let n_columns = field.n_columns();
        let (mut points, mut grid_idx) = (Vec::new(), Vec::new());
        let mut point_of = vec![NONE; field.positions.len()];
        for (idx, position) in field.positions.iter().enumerate() {
            let Ok(position) = position else { continue };
            point_of[idx] = u32::try_from(points.len()).unwrap_or(NONE);
            let share = if field.range.is_point() { 0.0 } else { field.range.share(position.min(field.range.hi)) };
            points.push([field.x[idx % n_columns], field.y[idx / n_columns], height * share]);
            grid_idx.push(idx);
        }
        let mut cells = Vec::new();
        for row in 0..field.n_rows() - 1 {
            for column in 0..n_columns - 1 {
                let point = row * n_columns + column;
                let corners = [point, point + 1, point + n_columns + 1, point + n_columns].map(|idx| point_of[idx]);
                if !corners.contains(&NONE) {
                    cells.push(corners);
                }
            }
        }
        if cells.is_empty() {
            return Err(PlotError::NoCell { n_points: points.len() });
        }
        Ok(Self { points, grid_idx, cells })
    }

    fn corners(&self, cell: [u32; 4]) -> [[f64; 3]; 4] {
        cell.map(|corner| self.points[corner as usize])
    }
}

/// Returns `field` as an OBJ file of quadrilaterals.
pub(super) fn obj(field: &Field<'_>, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    let solid = Solid::of(field)?;
    let mut text = format!("# {}\n# {}\no surface\n", line(&described(field, spec)), line(&spec.loss_label));
    for [x, y, z] in &solid.points {
        let _ = writeln!(text, "v {} {} {}", *x as f32, *y as f32, *z as f32);
    }
    for [a, b, c, d] in &solid.cells {
        let _ = writeln!(text, "f {} {} {} {}", a + 1, b + 1, c + 1, d + 1);
    }
    Ok(text.into_bytes())
}

/// Returns `field` as a binary STL file of two triangles for each cell.
pub(super) fn stl(field: &Field<'_>, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    let solid = Solid::of(field)?;
    // A header of 80 bytes that must not begin with "solid", as files of text do.
    let name: String = described(field, spec).chars().filter(char::is_ascii).take(80).collect();
    let mut bytes = format!("{name:<80}").into_bytes();
    bytes.reserve(4 + 100 * solid.cells.len());
    let n_triangles = u32::try_from(2 * solid.cells.len()).unwrap_or(u32::MAX);
    bytes.extend(n_triangles.to_le_bytes());
    for cell in &solid.cells {
        let [a, b, c, d] = solid.corners(*cell);
        for triangle in [[a, b, c], [a, c, d]] {
            for vector in [normal(triangle)].iter().chain(&triangle) {
                for value in vector {
                    bytes.extend((*value as f32).to_le_bytes());
                }
            }
            bytes.extend(0_u16.to_le_bytes());
        }
    }
    Ok(bytes)
}

fn normal([a, b, c]: [[f64; 3]; 3]) -> [f64; 3] {
    let along = |to: [f64; 3]| [to[0] - a[0], to[1] - a[1], to[2] - a[2]];
    let (u, v) = (along(b), along(c));
    let cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    let length = cross.iter().map(|value| value * value).sum::<f64>().sqrt();
    cross.map(|value| if length > 0.0 { value / length } else { 0.0 })
}

/// Returns `field` as a VTP file (VTK XML PolyData): loss, accuracy and ln(loss + 0.1) at points, and their means over
/// cells. Little-endian, compressed with zlib, appended in base64.
pub(super) fn vtp(values: &SurfaceValues, field: &Field<'_>, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    let solid = Solid::of(field)?;
    let of_points = |array: &[f64]| -> Vec<f64> { solid.grid_idx.iter().map(|idx| array[*idx]).collect() };
    let loss = of_points(&values.main.loss);
    let accuracy = of_points(&values.main.accuracy);
    // As in the paper's own conversion to VTP.
    let log_loss: Vec<f64> = loss.iter().map(|loss| (loss + 0.1).ln()).collect();
    let mut data = Appended::default();
    let mut arrays = [String::new(), String::new()];
    for (name, array) in [("loss", &loss), ("accuracy", &accuracy), ("log_loss", &log_loss)] {
        let mean = |cell: &[u32; 4]| cell.iter().map(|corner| 0.25 * array[*corner as usize]).sum();
        let means: Vec<f64> = solid.cells.iter().map(mean).collect();
        for (place, array) in arrays.iter_mut().zip([array, &means]) {
            let offset = data.append(array.iter().flat_map(|value| (*value as f32).to_le_bytes()))?;
            let _ = writeln!(place, r#"<DataArray type="Float32" Name="{name}" format="appended" offset="{offset}"/>"#);
        }
    }
    let points = data.append(solid.points.iter().flatten().flat_map(|value| (*value as f32).to_le_bytes()))?;
    let connectivity = data.append(solid.cells.iter().flatten().flat_map(|corner| corner.to_le_bytes()))?;
    let offsets = data.append((1..=solid.cells.len()).flat_map(|idx| (4 * idx as u32).to_le_bytes()))?;
    let [at_points, at_cells] = arrays;
    let described = super::scene::escaped(&described(field, spec)).replace("--", "- -");
    Ok(format!(
        concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
            "<!-- {described} -->\n",
            r#"<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt32" "#,
            "compressor=\"vtkZLibDataCompressor\">\n<PolyData>\n",
            r#"<Piece NumberOfPoints="{n_points}" NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0" "#,
            "NumberOfPolys=\"{n_cells}\">\n",
            "<PointData Scalars=\"loss\">\n{at_points}</PointData>\n",
            "<CellData Scalars=\"loss\">\n{at_cells}</CellData>\n",
            r#"<Points><DataArray type="Float32" Name="Points" NumberOfComponents="3" format="appended" "#,
            "offset=\"{points}\"/></Points>\n",
            "<Polys>\n",
            "<DataArray type=\"Int32\" Name=\"connectivity\" format=\"appended\" offset=\"{connectivity}\"/>\n",
            "<DataArray type=\"Int32\" Name=\"offsets\" format=\"appended\" offset=\"{offsets}\"/>\n",
            "</Polys>\n</Piece>\n</PolyData>\n<AppendedData encoding=\"base64\">\n",
            "_{data}\n</AppendedData>\n</VTKFile>\n",
        ),
        described = described,
        n_points = solid.points.len(),
        n_cells = solid.cells.len(),
        at_points = at_points,
        at_cells = at_cells,
        points = points,
        connectivity = connectivity,
        offsets = offsets,
        data = data.text,
    )
    .into_bytes())
}

/// The appended part of a VTP file.
#[derive(Default)]
struct Appended {
    text: String,
}

impl Appended {
    /// Adds an array in compressed blocks; returns its offset.
    fn append(&mut self, bytes: impl Iterator<Item = u8>) -> Result<usize, PlotError> {
        const BLOCK: usize = 1 << 20;
        let offset = self.text.len();
        let bytes: Vec<u8> = bytes.collect();
        let mut header = vec![bytes.len().div_ceil(BLOCK), BLOCK, bytes.len() % BLOCK];
        let mut compressed = Vec::new();
        for block in bytes.chunks(BLOCK) {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            let block = encoder.write_all(block).and_then(|()| encoder.finish()).map_err(PlotError::Compress)?;
            header.push(block.len());
            compressed.extend(block);
        }
        // Header and blocks are encoded one by one.
        let header: Vec<u8> = header.iter().flat_map(|value| (*value as u32).to_le_bytes()).collect();
        BASE64_STANDARD.encode_string(header, &mut self.text);
        BASE64_STANDARD.encode_string(compressed, &mut self.text);
        Ok(offset)
    }
}

fn described(field: &Field<'_>, spec: &PlotSpec) -> String {
    let scale = if field.scale == LossScale::Log { "decimal logarithm of the loss" } else { "loss" };
    let clip = field.clip.map(|clip| format!(", clipped at {}", clip.limit)).unwrap_or_default();
    let title = spec.title.as_deref().unwrap_or("Loss surface");
    format!("{title}. Height: {scale}{clip}, from {} to {}", field.range.lo, field.range.hi)
}

fn line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

//! Rows are taken out whole wherever the network cuts them, and nothing else is.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use bytes::BufMut;
use caliber_connector_spi::{ConnectorError, ErrorClass, Relation, RemoteColumn, RemoteQuery, RemoteTable};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::super::decoder::{Batches, Forms};
use super::*;
use crate::batch::BatchBuilder;

fn builder(columns: usize, rows_max: usize) -> BatchBuilder {
    let column = |at: usize| RemoteColumn {
        name: format!("c{at}"),
        data_type: if at == 0 { DataType::Int32 } else { DataType::Utf8 },
        native_type: String::new(),
        nullable: true,
        comparable: true,
        distinct_estimate: None,
        comment: None,
    };
    let table = RemoteTable {
        name: "t".to_owned(),
        namespace: None,
        is_view: false,
        columns: (0..columns).map(column).collect(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        rows_estimate: None,
    };
    let root = Relation::Scan { table: Arc::new(table) };
    BatchBuilder::new("s", &RemoteQuery::new(root), rows_max).expect("known types")
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.put_i32(i32::try_from(body.len() + 4).expect("short"));
    bytes.put_slice(body);
    bytes
}

fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i16(i16::try_from(cells.len()).expect("few cells"));
    for cell in cells {
        body.put_i32(cell.map_or(-1, |cell| i32::try_from(cell.len()).expect("short")));
        body.put_slice(cell.unwrap_or_default());
    }
    message(DATA_ROW, &body)
}

/// What comes of `bytes`, sent in pieces of `piece`: what reaches the driver, and the batches.
async fn tapped(
    bytes: &[u8],
    piece: usize,
    decoder: Option<(Decoder, Batches)>,
) -> (io::Result<Vec<u8>>, Vec<Result<RecordBatch, ConnectorError>>) {
    let (mut server, client) = tokio::io::duplex(piece);
    let rows = Rows::default();
    let mut tap = Tap::new(client, rows.clone());
    let (decoder, batches) = decoder.unzip();
    if let Some(decoder) = decoder {
        rows.divert(decoder);
    }
    let send = async {
        // A tap that fails reads no more.
        let _ = server.write_all(bytes).await;
        drop(server);
    };
    let driver = async {
        let mut passed = Vec::new();
        let read = tap.read_to_end(&mut passed).await;
        drop(tap);
        let last = rows.restore().map(|decoder| decoder.into_builder().take());
        (read.map(|_| passed), last)
    };
    let batches = async {
        match batches {
            Some(batches) => batches.collect().await,
            None => Vec::new(),
        }
    };
    let ((), (passed, last), mut batches): (_, _, Vec<_>) = tokio::join!(send, driver, batches);
    batches.extend(last.into_iter().filter_map(Result::transpose));
    (passed, batches)
}

fn integers(column: &ArrayRef) -> Vec<Option<i32>> {
    column.as_primitive::<Int32Type>().iter().collect()
}

#[tokio::test]
async fn rows_are_whole_wherever_they_are_cut() {
    let long = "x".repeat(3 * READ_BYTES);
    let mut bytes = message(b'2', b"");
    let mut others = bytes.clone();
    for at in 0..5_i32 {
        let text = if at == 3 { long.as_bytes() } else { b"DD" };
        bytes.extend(row(&[Some(&at.to_be_bytes()), (at != 1).then_some(text)]));
        if at == 2 {
            let notice = message(b'N', b"D\0\0\0\x04");
            bytes.extend(&notice);
            others.extend(&notice);
        }
    }
    for last in [message(b'C', b"SELECT 5\0"), message(b'Z', b"T")] {
        bytes.extend(&last);
        others.extend(&last);
    }
    for piece in [1, 2, 3, 5, 7, 64, 4096, 1 << 20] {
        let (passed, batches) = tapped(&bytes, piece, Some(Decoder::new(builder(2, 2), Forms::default()))).await;
        assert!(passed.expect("passes") == others, "pieces of {piece}");
        let batches: Vec<RecordBatch> = batches.into_iter().map(|batch| batch.expect("fits")).collect();
        let sizes: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(sizes, [2, 2, 1], "pieces of {piece}");
        let ids: Vec<Option<i32>> = batches.iter().flat_map(|batch| integers(batch.column(0))).collect();
        assert_eq!(ids, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let lengths: Vec<Option<usize>> = batches
            .iter()
            .flat_map(|batch| {
                batch
                    .column(1)
                    .as_string::<i32>()
                    .iter()
                    .map(|text| text.map(str::len))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(lengths, [Some(2), None, Some(2), Some(long.len()), Some(2)]);
    }
}

#[tokio::test]
async fn without_a_decoder_the_driver_sees_everything() {
    let bytes = [message(b'T', b"x"), row(&[Some(b"1")]), message(b'Z', b"I")].concat();
    for piece in [1, 6, 4096] {
        let (passed, batches) = tapped(&bytes, piece, None).await;
        assert!(passed.expect("passes") == bytes, "pieces of {piece}");
        assert!(batches.is_empty());
    }
}

#[tokio::test]
async fn a_scan_without_columns_still_counts_its_rows() {
    let bytes = [row(&[Some(&[0, 0, 0, 1])]), row(&[Some(&[0, 0, 0, 1])])].concat();
    let (_, batches) = tapped(&bytes, 4096, Some(Decoder::new(builder(0, 10), Forms::default()))).await;
    let batch = batches.into_iter().next().expect("a batch").expect("fits");
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 0));
}

#[tokio::test]
async fn a_row_of_another_form_fails_and_ends_nothing_else() {
    let well = row(&[Some(&[0, 0, 0, 1]), None]);
    let truncated = message(DATA_ROW, &[0, 2, 0, 0, 0, 4, 0, 0]);
    let negative = message(DATA_ROW, &[0, 2, 255, 255, 255, 254, 255, 255, 255, 255]);
    for wrong in [
        row(&[None]),
        row(&[None, None, None]),
        truncated,
        negative,
        message(DATA_ROW, &[]),
    ] {
        let bytes = [well.clone(), wrong, well.clone(), message(b'Z', b"T")].concat();
        let (passed, batches) = tapped(&bytes, 4096, Some(Decoder::new(builder(2, 1), Forms::default()))).await;
        assert_eq!(passed.expect("passes"), message(b'Z', b"T"));
        let mut batches = batches.into_iter();
        assert_eq!(batches.next().expect("a batch").expect("fits").num_rows(), 1);
        let error = batches.next().expect("an error").expect_err("another form");
        assert_eq!(error.class, ErrorClass::Data, "{error}");
        assert!(batches.next().is_none(), "nothing after an error");
    }
}

#[tokio::test]
async fn a_message_shorter_than_its_header_is_an_error() {
    for length in [3_i32, 0, -1] {
        let mut bytes = vec![DATA_ROW];
        bytes.put_i32(length);
        let (passed, _) = tapped(&bytes, 4096, Some(Decoder::new(builder(1, 1), Forms::default()))).await;
        assert_eq!(passed.expect_err("no message").kind(), io::ErrorKind::InvalidData);
    }
}
